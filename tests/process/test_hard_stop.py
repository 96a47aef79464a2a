"""Runs that do not stop when they are told to: their processes are ended, and the worker goes on."""

from __future__ import annotations

import time

import pytest

from tests.support.crew import Crew
from tests.support.fleet import flow, is_alive, lines

GRACE = {"PYOCO_CANCEL_GRACE_PERIOD_SEC": "0.5"}


def cancel(crew: Crew, run_id: str) -> float:
    """Mark a run as a gateway does; gives the moment, ``time.monotonic()``."""
    crew.fleet.change(run_id, status="CANCELLING", cancel_requested_at=time.time(), cancel_requested_by=None)
    return time.monotonic()


@pytest.mark.long
def test_run_that_ignores_its_cancel_is_ended_after_the_grace_period_and_its_slot_is_free(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("only", **GRACE)
    run_id = crew.submit(flow("quick >> ignore_cancel >> after"), params={"name": crew.tag, "quick": 1})
    pids = [int(pid) for pid in fleet.wait_for_file(f"{crew.tag}.deaf").split()]
    cancelled_at = cancel(crew, run_id)
    run = fleet.ended(run_id, "CANCELLED", timeout_sec=10)
    # Half a second of grace, two more until SIGKILL.
    assert 2.4 < time.monotonic() - cancelled_at < 5
    assert run["error"] is None
    assert run["tasks"] == {"quick": "SUCCEEDED", "ignore_cancel": "CANCELLED", "after": "PENDING"}
    assert fleet.dead_letters(run_id) == []
    (logged,) = [line for line in lines(worker) if line.get("err_id") == "ERR-PYOCO-0021"]
    assert logged["run_id"] == run_id
    fleet.wait_until(lambda: not any(is_alive(pid) for pid in pids), f"the end of {pids}")
    assert fleet.ended(crew.submit(flow("quick")))["worker_id"] == worker.worker_id


def test_run_that_waits_for_a_program_ends_by_the_end_of_that_program(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("only", **GRACE)
    run_id = crew.submit(flow("wait_for_program >> quick"), params={"name": crew.tag})
    runner = int(fleet.wait_for_file(f"{crew.tag}.waits"))
    cancelled_at = cancel(crew, run_id)
    run = fleet.ended(run_id, "CANCELLED", timeout_sec=10)
    # By SIGTERM, not by the SIGKILL that would have followed.
    assert time.monotonic() - cancelled_at < 2.4
    assert run["task_records"]["wait_for_program"]["output"] == -15
    assert run["tasks"]["quick"] != "SUCCEEDED"
    # It ended in order, so its runner serves on.
    assert fleet.ended(crew.submit(flow("quick")))["task_records"]["quick"]["output"] == runner
