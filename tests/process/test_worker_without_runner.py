"""A worker whose idle runner has died and that can boot no other: it keeps no job from those who can."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support.crew import Crew, Worker
from tests.support.fleet import flow, is_alive, kill, runners_of

_RESOLVER = "def know_nothing(name):\n    return {}[name]\n"


def hire_broken(crew: Crew, **env: str) -> tuple[Worker, Path]:
    """Start such a worker, and give the file that keeps its runners from booting."""
    fleet = crew.fleet
    resolver = fleet.folder / f"resolver_{crew.tag}.py"
    resolver.write_text(_RESOLVER)
    broken = crew.hire("broken", "--flow-resolver", f"{resolver.name}:know_nothing", **env)
    # Its runner has booted.
    fleet.ended(crew.submit(flow("quick")))
    resolver.write_text("raise RuntimeError('the disk is full')\n")
    (runner,) = runners_of(broken)
    kill(runner, signal.SIGKILL)
    fleet.wait_until(lambda: not is_alive(runner), "the end of the runner")
    return broken, resolver


def test_job_goes_to_another_worker_when_no_runner_can_boot_here(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    broken, resolver = hire_broken(crew)
    run_id = crew.submit(flow("quick"))
    broken.wait_for_log("a runner cannot boot")
    whole = crew.hire("whole")
    # The lease of a job that was kept lasts 30 s.
    run = fleet.ended(run_id, timeout_sec=20)
    assert (run["attempt"], run["worker_id"]) == (1, whole.worker_id)
    # It goes on trying, and serves again when it can.
    resolver.write_text(_RESOLVER)
    assert whole.stop() == 0
    assert fleet.ended(crew.submit(flow("quick")), timeout_sec=40)["worker_id"] == broken.worker_id


def test_last_delivery_of_a_job_waits_for_a_runner_and_is_not_lost_when_the_worker_stops(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    once = {"PYOCO_CONSUMER_MAX_DELIVER": "1"}
    broken, _ = hire_broken(crew, **once)
    run_id = crew.submit(flow("quick"))
    broken.wait_for_log("a runner cannot boot")
    # Nobody else gets it: it would not be delivered again.
    whole = crew.hire("whole", **once)
    fleet.ended(crew.submit(flow("quick")))
    assert fleet.run(run_id)["status"] == "PENDING"
    assert broken.stop() == 0
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (1, whole.worker_id)
    assert fleet.dead_letters(run_id) == []
