"""Cancelling runs in a fleet mixed with the published 0.5.1: whoever is asked, and whoever executes."""

from __future__ import annotations

import time

import pytest

from tests.support.fleet import QUICK, flow
from tests.support.mixed import OURS, THEIRS, MixedFleet
from tests.support.waiting import eventually

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("asked", "executing"), [(OURS, THEIRS), (THEIRS, OURS)])
def test_a_run_that_cooperates_is_cancelled(mixed: MixedFleet, asked: str, executing: str) -> None:
    gateway = mixed.gateway(asked)
    mixed.worker(executing)
    run_id = mixed.submit(gateway, workflow=flow("until_cancelled"))
    mixed.running(run_id)
    answer = mixed.cancel(gateway, run_id)
    assert answer["status"] == "CANCELLING" and "task_records" not in answer
    # A gateway of 0.5.1 that is asked again would write its mark over the end that has come meanwhile.
    again = mixed.cancel(gateway, run_id) if asked == OURS else answer
    # Long before the silence of its worker would tell that nobody has it: one of 0.5.1 does not write CANCELLED.
    ended = mixed.ended(run_id, timeout_sec=8)
    assert (ended["status"], ended["error"]) == ("CANCELLED", None)
    requested = [run["cancel_requested_at"] for run in (answer, again, ended)]
    assert requested[0] is not None and len(set(requested)) == 1
    mixed.assert_nothing_is_left()
    # A late write of a worker of 0.5.1 may undo the end for a moment.
    eventually(lambda: mixed.cancel(gateway, run_id)["status"] == "CANCELLED", what="the end that stays")


def test_a_run_that_0_5_1_executes_is_not_called_cancelled_before_it_has_stopped(mixed: MixedFleet) -> None:
    gateway = mixed.gateway(OURS, **QUICK)
    mixed.worker(THEIRS, **QUICK)
    run_id = mixed.submit(gateway, workflow=flow("hold"))
    mixed.running(run_id)
    mixed.cancel(gateway, run_id)
    marked_at = time.time()
    # Several turns of the gateway that ends runs which nobody holds, and of the worker's sign of life.
    eventually(lambda: mixed.run(run_id)["heartbeat_at"] > marked_at + 2, what="signs of life after the request")
    assert mixed.run(run_id)["status"] == "CANCELLING"
    (mixed.folder / "go").touch()
    assert mixed.ended(run_id)["status"] in ("CANCELLED", "COMPLETED")
    mixed.assert_nothing_is_left()


@pytest.mark.parametrize("asked", [OURS, THEIRS])
def test_a_run_that_waits_behind_a_worker_of_the_other_kind_is_never_executed(mixed: MixedFleet, asked: str) -> None:
    ours, theirs = mixed.gateway(OURS), mixed.gateway(THEIRS)
    gateway, executing = (ours, THEIRS) if asked == OURS else (theirs, OURS)
    mixed.worker(executing)
    before = mixed.submit(gateway, workflow=flow("hold"))
    mixed.running(before)
    run_id = mixed.submit(gateway, workflow=flow("until_cancelled"))
    mixed.cancel(gateway, run_id)
    # Our gateway ends it also where that of 0.5.1 was asked.
    assert mixed.ended(run_id, timeout_sec=5)["status"] == "CANCELLED"
    (mixed.folder / "go").touch()
    assert mixed.ended(before)["status"] == "COMPLETED"
    mixed.assert_nothing_is_left()
    assert not (mixed.folder / "waits-for-cancel").exists()
    assert mixed.run(run_id)["status"] == "CANCELLED"


def test_a_cancel_request_that_a_worker_of_0_5_1_writes_over_is_made_again(mixed: MixedFleet) -> None:
    gateway = mixed.gateway(OURS, **QUICK)
    run_id = mixed.submit(gateway, {"x": 1})
    known = mixed.run(run_id)
    requested_at = mixed.cancel(gateway, run_id)["cancel_requested_at"]
    assert mixed.ended(run_id)["status"] == "CANCELLED"
    begun = {name: value for name, value in known.items() if name not in ("attempt", "origin")}
    mixed.overwrite(run_id, {**begun, "status": "RUNNING", "start_time": time.time()})
    eventually(lambda: mixed.run(run_id)["status"] == "CANCELLING", what="the second mark")
    # No worker is there, so silence ends it.
    ended = mixed.ended(run_id)
    assert (ended["status"], ended["cancel_requested_at"]) == ("CANCELLED", requested_at)
