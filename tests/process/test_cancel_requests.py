"""Cancel requests that somebody writes into the snapshot, as every gateway of the fleet does."""

from __future__ import annotations

import time

import pytest

from tests.process.conftest import Workshop
from tests.support.crew import Crew
from tests.support.fleet import Fleet, flow


def request_cancel(fleet: Fleet, run_id: str) -> float:
    now = time.time()
    fleet.change(run_id, status="CANCELLING", cancel_requested_at=now, cancel_requested_by="api_key:key12345")
    return now


def test_cooperating_run_is_cancelled_within_about_a_second(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run_id = fleet.submit(flow("until_cancelled >> quick"))
    fleet.wait_for_file("waits-for-cancel")
    fleet.running(run_id, "until_cancelled")
    requested_at = request_cancel(fleet, run_id)
    run = fleet.ended(run_id, "CANCELLED")
    # The snapshot is read with each sign of life: once a second.
    assert run["end_time"] - requested_at < 1.5
    assert run["error"] is None
    assert (run["cancel_requested_at"], run["cancel_requested_by"]) == (requested_at, "api_key:key12345")
    assert run["tasks"]["until_cancelled"] == "SUCCEEDED"
    assert run["tasks"]["quick"] in ("CANCELLED", "PENDING")
    assert run["task_records"].get("quick", {}).get("started_at") is None
    assert fleet.dead_letters(run_id) == []
    # Nothing of it is left for the next run.
    fleet.ended(fleet.submit(flow("quick")))


@pytest.mark.parametrize("last", ["hold_then_fail", "hold_then_die"])
def test_run_that_fails_after_a_cancel_request_is_cancelled_and_has_no_dead_letter(
    workshop: Workshop, last: str
) -> None:
    fleet = workshop.fleet
    run_id = fleet.submit(flow(f"{last} >> quick"), params={"name": last})
    fleet.running(run_id, last)
    request_cancel(fleet, run_id)
    fleet.touch(last)
    run = fleet.ended(run_id, "CANCELLED")
    assert run["error"] is None
    assert run["tasks"] == {last: "FAILED", "quick": run["tasks"]["quick"]}
    assert run["tasks"]["quick"] in ("CANCELLED", "PENDING")
    assert fleet.dead_letters(run_id) == []


def test_run_that_nobody_has_begun_is_cancelled_and_never_executed(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    run_id = crew.submit_held()
    request_cancel(fleet, run_id)
    crew.hire("one")
    run = fleet.ended(run_id, "CANCELLED")
    assert (run["error"], run["attempt"], run["tasks"]) == (None, 0, {"hold": "PENDING"})
    assert crew.begun() == []


def test_run_that_a_stopping_worker_hands_back_after_a_cancel_request_is_not_begun_again(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("first", PYOCO_DRAIN_SEC="0.1")
    run_id = crew.submit_held()
    crew.wait_for_begin()
    request_cancel(fleet, run_id)
    assert worker.stop() == 0
    crew.hire("next")
    run = fleet.ended(run_id, "CANCELLED")
    assert (run["error"], run["attempt"]) == (None, 1)
    assert len(crew.begun()) == 1
