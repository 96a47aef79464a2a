"""SIGTERM and SIGINT: what goes on may end, the rest is handed back, and nothing stays behind."""

from __future__ import annotations

import json
import signal
import time

import pytest

from pyoco_server.contract import names
from tests.support.crew import Crew
from tests.support.fleet import flow, is_alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_worker_lets_its_run_end_and_takes_no_other(town_crew: Crew, number: signal.Signals) -> None:
    crew, fleet = town_crew, town_crew.fleet
    # The free place is given nothing either.
    worker = crew.hire("only", "--concurrency", "2")
    run_id = crew.submit_held()
    crew.wait_for_begin()
    worker.process.send_signal(number)
    worker.wait_for_log("the worker stops;")
    other = crew.submit(flow("quick"))
    crew.let_go()
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (1, worker.worker_id)
    assert worker.process.wait(10) == 0
    assert fleet.run(other)["status"] == "PENDING"
    record = fleet.worker(worker.worker_id)
    assert (record["state"], record["stop_reason"]) == ("STOPPED_GRACEFUL", "graceful_shutdown")
    assert record["stopped_at"] == pytest.approx(time.time(), abs=20)
    assert (record["current_run_id"], record["current_run_ids"]) == (None, [])
    assert (record["last_run_id"], record["last_run_status"]) == (run_id, "COMPLETED")
    fleet.wait_until(crew.nothing_is_left, "the end of all processes and temporary files")
    # It was not taken and handed back: it is there for the next worker.
    crew.hire("next")
    assert fleet.ended(other, timeout_sec=5)["attempt"] == 1


def test_run_that_does_not_end_in_time_is_handed_back_and_goes_on_elsewhere_at_once(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    # With the time-outs of a usual worker: nobody may have to wait for them.
    first = crew.hire("first", PYOCO_DRAIN_SEC="0.2")
    run_id = crew.submit_held()
    (runner,) = crew.wait_for_begin()
    second = crew.hire("second")
    started_at = time.monotonic()
    assert first.stop() == 0
    crew.wait_for_begin(2)
    assert time.monotonic() - started_at < 10
    # Never two at the same time.
    assert not is_alive(runner)
    crew.let_go()
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (2, second.worker_id)
    assert run["task_records"]["hold"]["output"] != runner
    assert fleet.dead_letters(run_id) == []
    assert fleet.worker(first.worker_id)["state"] == "STOPPED_GRACEFUL"
    assert fleet.worker(first.worker_id)["last_run_id"] is None
    assert second.stop() == 0
    fleet.wait_until(crew.nothing_is_left, "the end of all processes and temporary files")


def test_what_a_run_printed_is_stored_before_the_run_is_handed_back(town_crew: Crew) -> None:
    """It is printing when its runner is killed, so there is always something that was not sent yet."""
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("first", PYOCO_DRAIN_SEC="0.2")
    run_id = crew.submit(flow("print_on_and_on"))
    fleet.wait_until(lambda: fleet.log(run_id), "the first lines", 60)
    assert worker.stop(timeout_sec=60) == 0
    released = fleet.bus.last("KV_pyoco_runs", names.key_subject("pyoco_runs", run_id))
    assert json.loads(released.payload)["worker_id"] is None
    assert fleet.bus.last(names.LOGS_STREAM, names.logs_subject(run_id)).stored_at < released.stored_at


@pytest.mark.parametrize("flags", [[], ["--run-once", "--poll-timeout", "10"]])
def test_second_signal_means_now(town_crew: Crew, flags: list[str]) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("hurried", *flags)
    run_id = crew.submit_held()
    crew.wait_for_begin()
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for_log("the worker stops;")
    # The first one does not end the run.
    fleet.wait_for_life(run_id)
    assert worker.stop(timeout_sec=5) == 0
    fleet.wait_until(crew.nothing_is_left, "the end of all processes and temporary files")
    crew.let_go()
    crew.hire("next")
    assert fleet.ended(run_id)["attempt"] == 2


def test_idle_worker_stops_at_once(town_crew: Crew) -> None:
    worker = town_crew.hire("idle", "--concurrency", "2", "--poll-timeout", "60")
    town_crew.fleet.ended(town_crew.submit(flow("quick")))
    assert worker.stop(timeout_sec=3) == 0
    town_crew.fleet.wait_until(town_crew.nothing_is_left, "the end of all processes and temporary files")
