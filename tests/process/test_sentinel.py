"""Workers that are killed: their sentinel ends what they have started, and gives their jobs to others at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.crew import Crew, Worker
from tests.support.fleet import QUICK, children_of, flow, is_alive, kill
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

#: What the crew sets otherwise for the tests' sake.
DEFAULT = {"PYOCO_RUN_HEARTBEAT_INTERVAL_SEC": "1"}


def sentinel_of(worker: Worker) -> int:
    """Wait for the sentinel of a worker, and give its process id."""
    return eventually(lambda: children_of(worker, "sentinel_process"), what="the sentinel")[0]


def ignores(pid: int, number: signal.Signals) -> bool:
    words = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(words["SigIgn"], 16) >> (number - 1) & 1)


def test_run_of_a_killed_worker_is_completed_by_another_within_seconds_under_default_settings(
    town_crew: Crew,
) -> None:
    crew, fleet = town_crew, town_crew.fleet
    workers = {worker.worker_id: worker for worker in (crew.hire("one", **DEFAULT), crew.hire("two", **DEFAULT))}
    run_id = crew.submit_held()
    crew.wait_for_begin()
    first = workers.pop(fleet.running(run_id)["worker_id"])
    (second,) = workers.values()
    fleet.wait_until(lambda: fleet.worker(first.worker_id)["state"] == "RUNNING", "the first worker's record")
    before = fleet.worker(first.worker_id)
    first.kill()
    killed_at = time.time()
    crew.wait_for_begin(2)
    # Without the sentinel the queue waits for the lease of 30 s, of which 20 s at least are left.
    assert time.time() - killed_at < 6
    crew.let_go()
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (2, second.worker_id)
    assert fleet.dead_letters(run_id) == []
    record = fleet.worker(first.worker_id)
    assert killed_at - 1 < record.pop("lost_at") < time.time()
    # Nothing else was touched, but for what the worker itself may have written last.
    times = ("lost_at", "last_seen_at", "updated_at", "heartbeat_at", "last_heartbeat_at")
    assert {**record, **dict.fromkeys(times)} == {**before, **dict.fromkeys(times)}


def test_run_whose_worker_and_runner_are_killed_together_is_taken_over_at_once(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    first = crew.hire("first", **DEFAULT)
    run_id = crew.submit_held()
    (runner,) = crew.wait_for_begin()
    # So that it cannot tell of the end of its runner.
    kill(first.process.pid, signal.SIGSTOP)
    kill(runner, signal.SIGKILL)
    fleet.wait_until(lambda: not is_alive(runner), "the end of the runner")
    first.kill()
    second = crew.hire("second", **DEFAULT)
    # Of the lease of 30 s most is left.
    crew.wait_for_begin(2)
    crew.let_go()
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (2, second.worker_id)
    assert fleet.worker(first.worker_id)["lost_at"] is not None
    assert fleet.dead_letters(run_id) == []


@pytest.mark.long
def test_run_of_a_machine_that_is_gone_is_taken_over_when_its_lease_is_over(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    first = crew.hire("first", **QUICK)
    run_id = crew.submit_held()
    crew.wait_for_begin()
    # Nothing of it is left that could hand anything back.
    kill(sentinel_of(first), signal.SIGSTOP)
    crew.family.end()
    fleet.wait_until(lambda: not crew.family.members(), "the end of all of it")
    second = crew.hire("second", **QUICK)
    crew.wait_for_begin(2)
    crew.let_go()
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (2, second.worker_id)
    assert fleet.worker(first.worker_id)["lost_at"] is None
    assert fleet.dead_letters(run_id) == []


def test_nothing_of_a_worker_survives_its_kill_although_its_whole_group_is_signalled(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("only")
    run_id = crew.submit(flow("ignore_cancel"), params={"name": crew.tag})
    pids = [int(pid) for pid in fleet.wait_for_file(f"{crew.tag}.deaf").split()]
    sentinel = sentinel_of(worker)
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    fleet.wait_until(lambda: all(ignores(sentinel, number) for number in signals), "a sentinel that has begun")
    for number in signals:
        kill(sentinel, number)
    fleet.wait_for_life(run_id)
    assert is_alive(sentinel)
    os.killpg(worker.process.pid, signal.SIGKILL)
    fleet.wait_until(lambda: not any(is_alive(pid) for pid in pids), f"the end of {pids}")
    fleet.wait_until(lambda: not crew.family.members(), "the end of the sentinel, when it has done its work")
    assert fleet.worker(worker.worker_id)["lost_at"] is not None


def test_another_sentinel_takes_the_place_of_one_that_was_killed(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    first = crew.hire("first")
    run_id = crew.submit_held()
    (runner,) = crew.wait_for_begin()
    killed = sentinel_of(first)
    kill(killed, signal.SIGKILL)
    # A process that is there may not have heard of anything.
    first.wait_for_log("another sentinel knows")
    # It knows of the run that was in hand already, and of one that begins now.
    first.kill()
    fleet.wait_until(lambda: not is_alive(runner), "the end of the runner")
    crew.hire("second")
    crew.wait_for_begin(2)
    crew.let_go()
    assert fleet.ended(run_id)["attempt"] == 2


@pytest.mark.long
def test_sentinel_that_does_not_listen_holds_nobody_up(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("only")
    deaf = sentinel_of(worker)
    kill(deaf, signal.SIGSTOP)
    runs = [crew.submit(flow("quick")) for _ in range(320)]
    fleet.wait_until(lambda: all(fleet.is_over(run_id) for run_id in runs), "the end of every run", 60)
    worker.wait_for_log("another one follows")
    assert worker.stop() == 0


def test_sentinel_ends_with_a_worker_that_stops_in_order_and_marks_nothing(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("only")
    sentinel = sentinel_of(worker)
    assert worker.stop() == 0
    fleet.wait_until(lambda: not is_alive(sentinel), "the end of the sentinel")
    record = fleet.worker(worker.worker_id)
    assert (record["state"], record["lost_at"]) == ("STOPPED_GRACEFUL", None)


def test_sentinel_waits_for_nats_to_come_back(crew: Crew, nats: NatsServer) -> None:
    fleet = crew.fleet
    first = crew.hire("first")
    run_id = crew.submit_held()
    crew.wait_for_begin()
    fleet.wait_until(lambda: fleet.worker(first.worker_id), "its record")
    nats.stop()
    first.kill()
    nats.start()
    crew.hire("second")
    crew.wait_for_begin(2)
    crew.let_go()
    # The server has forgotten the delivery with its restart or not: the holder is known to be gone in both cases.
    assert fleet.ended(run_id, timeout_sec=40)["attempt"] == 2
    assert fleet.worker(first.worker_id)["lost_at"] is not None
