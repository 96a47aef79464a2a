"""``--run-once``: one job or none, then the end; for cron and for CI."""

from __future__ import annotations

import time

from tests.support.crew import Crew
from tests.support.fleet import flow


def test_run_once_without_a_job_ends_after_the_poll_time_out(town_crew: Crew) -> None:
    started_at = time.monotonic()
    worker = town_crew.hire("once", "--run-once", "--poll-timeout", "0.2")
    assert worker.process.wait(5) == 0
    assert time.monotonic() - started_at < 5
    assert town_crew.fleet.worker(worker.worker_id)["state"] == "STOPPED_GRACEFUL"
    town_crew.fleet.wait_until(town_crew.nothing_is_left, "the end of all processes and temporary files")


def test_run_once_executes_one_of_two_waiting_runs_and_ends_well_although_it_failed(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    first, second = crew.submit(flow("kill_itself")), crew.submit(flow("quick"))
    worker = crew.begin("once", "--run-once", "--concurrency", "2")
    assert worker.process.wait(15) == 0
    assert fleet.run(first)["status"] == "FAILED"
    assert not fleet.has_job(first)
    assert (fleet.run(second)["status"], fleet.has_job(second)) == ("PENDING", True)


def test_run_once_waits_for_its_job_for_the_poll_time_out_and_for_its_end_without_limit(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("once", "--run-once", "--poll-timeout", "20", PYOCO_DRAIN_SEC="0.1")
    run_id = crew.submit_held()
    crew.wait_for_begin()
    fleet.wait_for_life(run_id)
    crew.let_go()
    assert worker.process.wait(10) == 0
    assert fleet.run(run_id)["status"] == "COMPLETED"
