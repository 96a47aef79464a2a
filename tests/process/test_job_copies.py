"""Copies of jobs: whatever the queue delivers, a run executes once and fails once."""

from __future__ import annotations

import json
import time

import pytest

from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot
from tests.support.crew import Crew, reasons
from tests.support.fleet import QUICK, flow


def test_copy_of_the_job_of_a_running_run_is_acknowledged_and_the_run_executes_once(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    first = crew.hire("first")
    run_id = crew.submit_held()
    crew.wait_for_begin()
    crew.hire("second")
    fleet.queue(fleet.job_of(run_id), tag=crew.tag)
    # Long before the run has ended.
    fleet.wait_until(lambda: fleet.job_count(run_id) == 1, "the acknowledgement of the copy")
    crew.let_go()
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (1, first.worker_id)
    assert len(crew.begun()) == 1


def test_copy_that_the_same_worker_gets_is_acknowledged(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("both", "--concurrency", "2")
    run_id = crew.submit_held()
    crew.wait_for_begin()
    fleet.queue(fleet.job_of(run_id), tag=crew.tag)
    fleet.wait_until(lambda: fleet.job_count(run_id) == 1, "the acknowledgement of the copy")
    crew.let_go()
    assert fleet.ended(run_id)["attempt"] == 1
    assert len(crew.begun()) == 1


def test_job_of_a_run_that_is_over_is_acknowledged_and_not_executed(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("one")
    crew.let_go()
    job = fleet.store_pending(flow("hold"), params={"name": crew.tag}, tag=crew.tag)
    fleet.queue(job.to_bytes(), tag=crew.tag)
    over = fleet.ended(job.run_id)
    fleet.queue(job.to_bytes(), tag=crew.tag)
    # One worker and one slot: the next run comes behind it.
    fleet.ended(crew.submit(flow("quick")))
    assert not fleet.has_job(job.run_id)
    assert fleet.run(job.run_id) == over
    assert len(crew.begun()) == 1


def test_job_without_a_run_is_acknowledged_and_not_executed(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("one", **QUICK)
    crew.let_go()
    job = json.dumps({"run_id": f"none-{crew.tag}", "flow_name": "main", "tag": crew.tag, "params": {}})
    fleet.queue(job.encode(), tag=crew.tag)
    fleet.wait_until(lambda: not fleet.has_job(f"none-{crew.tag}"), "the acknowledgement")
    assert not fleet.has_run(f"none-{crew.tag}")
    assert crew.begun() == []


@pytest.mark.long
def test_job_whose_run_is_not_seen_at_once_is_executed_when_it_is(town_crew: Crew) -> None:
    """Its snapshot was stored before it, and a leader that was elected in between may not know of it yet."""
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("one", PYOCO_ACK_PROGRESS_INTERVAL_SEC="8")
    job = Job(f"late-{crew.tag}", "main", crew.tag, [crew.tag], {}, time.time(), workflow_yaml=flow("quick"))
    fleet.queue(job.to_bytes(), tag=crew.tag)
    crew.submit(flow("quick"))
    # One worker and one slot: the next job is fetched when the first has been handed back.
    fleet.wait_until(lambda: fleet.delivery_count(crew.tag) >= 2, "the delivery of the next job")
    fleet.store(Snapshot.pending(job, origin="test", tasks=["quick"], now=time.time()))
    assert fleet.ended(job.run_id)["attempt"] == 1


@pytest.mark.long
def test_run_that_a_copy_which_cannot_be_read_fails_has_one_dead_letter(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("first", **QUICK)
    run_id = crew.submit_held()
    crew.wait_for_begin()
    crew.hire("second", **QUICK)
    fleet.queue(json.dumps({"run_id": run_id, "flow_name": "main", "tag": crew.tag}).encode(), tag=crew.tag)
    fleet.ended(run_id, "FAILED")
    assert reasons(fleet.dead_letters(run_id)) == ["invalid_job"]


def test_dead_letter_that_a_worker_owed_when_it_died_is_written_by_the_next(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    job = fleet.store_pending(flow("quick"), tag=crew.tag)
    seq = fleet.queue(job.to_bytes(), tag=crew.tag)
    # As a worker leaves it that is killed between the snapshot and the dead letter.
    fleet.change(job.run_id, status="FAILED", error="worker_process_died: in a test", job_seq=seq, end_time=time.time())
    over = fleet.run(job.run_id)
    crew.hire("next")
    fleet.ended(job.run_id, "FAILED")
    assert fleet.run(job.run_id) == over
    (letter,) = fleet.dead_letters(job.run_id)
    assert (letter["reason"], letter["error"]) == ("worker_process_died", "worker_process_died: in a test")
