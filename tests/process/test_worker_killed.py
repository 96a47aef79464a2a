"""Workers that vanish or fall silent: another one takes their runs over, and the first cannot disturb it."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.support.crew import Crew
from tests.support.fleet import QUICK, flow, is_alive, kill


def test_run_of_a_killed_worker_is_completed_by_another(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    first = crew.hire("first", **QUICK)
    run_id = crew.submit_held()
    (runner,) = crew.wait_for_begin()
    left = list(crew.scratch.iterdir())
    assert left
    first.kill()
    fleet.wait_until(lambda: not is_alive(runner), "the end of the runner")
    second = crew.hire("second", **QUICK)
    # What the dead worker could not remove.
    assert not any(path.exists() for path in left)
    assert any(crew.scratch.iterdir())
    crew.wait_for_begin(2)
    crew.let_go()
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (2, second.worker_id)
    assert run["task_records"]["hold"]["output"] == crew.begun()[1]
    assert fleet.dead_letters(run_id) == []


def test_run_whose_folder_a_cleaner_has_removed_gets_one_that_other_workers_leave_alone(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("first", **QUICK)
    fleet.wait_until(lambda: any(crew.scratch.glob("pyoco-worker-*/run-*")), "the folder of the next run")
    for path in crew.scratch.glob("pyoco-worker-*"):
        shutil.rmtree(path)
    run_id = crew.submit_held()
    crew.wait_for_begin()
    folders = set(crew.scratch.glob("pyoco-worker-*/run-*"))
    assert folders
    crew.hire("second", **QUICK)
    assert folders <= set(crew.scratch.glob("pyoco-worker-*/run-*"))
    crew.let_go()
    assert fleet.ended(run_id)["attempt"] == 1


def test_worker_that_starts_again_after_a_kill_takes_its_own_run_over_without_a_time_out(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    # Only the lease has to end; that its holder is gone is known by the new life of the same worker.
    settings = {**QUICK, "PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC": "600"}
    first = crew.hire("one", **settings)
    run_id = crew.submit_held()
    crew.wait_for_begin()
    first.kill()
    crew.hire("one", **settings)
    crew.wait_for_begin(2)
    crew.let_go()
    assert fleet.ended(run_id)["attempt"] == 2


@pytest.mark.long
def test_worker_that_was_silent_neither_overwrites_nor_acknowledges(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    first = crew.hire("first", **QUICK)
    run_id = crew.submit(flow("hold_each"), params={"name": crew.tag})
    crew.wait_for_begin()
    second = crew.hire("second", **QUICK)
    kill(first.process.pid, signal.SIGSTOP)
    crew.wait_for_begin(2)
    # Its runner was not stopped: the result waits for it when it goes on.
    crew.let_go(execution=1)
    kill(first.process.pid, signal.SIGCONT)
    first.wait_for_log("not this worker's any more|taken over by another worker")
    fleet.wait_for_life(run_id)
    run = fleet.running(run_id, "hold_each")
    assert (run["attempt"], run["worker_id"]) == (2, second.worker_id)
    assert fleet.has_job(run_id)
    crew.let_go(execution=2)
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (2, second.worker_id)
    assert run["task_records"]["hold_each"]["output"] == crew.begun()[1]
    # It goes on serving.
    assert second.stop() == 0
    assert fleet.ended(crew.submit(flow("quick")))["worker_id"] == first.worker_id


def test_worker_that_was_silent_for_less_than_its_time_out_keeps_its_run(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    settings = {**QUICK, "PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC": "600"}
    first = crew.hire("first", **settings)
    run_id = crew.submit_held()
    crew.wait_for_begin()
    crew.hire("second", **settings)
    kill(first.process.pid, signal.SIGSTOP)
    # The lease ends, and the queue hands the job to the other worker, who must not execute it.
    fleet.wait_until(lambda: fleet.redelivered_count(crew.tag) > 0, "another delivery of the job")
    kill(first.process.pid, signal.SIGCONT)
    crew.let_go()
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (1, first.worker_id)
    assert len(crew.begun()) == 1
