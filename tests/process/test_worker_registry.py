"""The record of a worker in the registry, through its life and after a restart."""

from __future__ import annotations

import os
import socket
import time

import pytest

import pyoco_server
from tests.support.crew import Crew
from tests.support.fleet import QUICK, flow

#: Every field of the contract and every one of ours.
FIELDS = (
    "worker_id instance_id state hidden tags last_seen_at last_heartbeat_at heartbeat_at current_run_id last_run_id "
    "last_run_status last_run_started_at last_run_finished_at stopped_at stop_reason updated_at wheel_sync "
    "concurrency current_run_ids host pid version lost_at drain_requested_at"
).split()


def test_record_has_every_field_and_gives_signs_of_life(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("one", **QUICK)
    record = fleet.worker(worker.worker_id)
    assert sorted(record) == sorted(FIELDS)
    seen_at = record["last_seen_at"]
    assert seen_at == pytest.approx(time.time(), abs=20)
    assert record["last_heartbeat_at"] == record["heartbeat_at"] == seen_at
    assert (record["state"], record["hidden"], record["tags"]) == ("IDLE", False, [crew.tag])
    assert (record["current_run_id"], record["last_run_id"]) == (None, None)
    assert (record["stopped_at"], record["stop_reason"], record["lost_at"]) == (None, None, None)
    assert (record["wheel_sync"]["enabled"], record["wheel_sync"]["last_result"]) == (False, "disabled")
    assert (record["host"], record["version"]) == (socket.gethostname(), pyoco_server.__version__)
    assert os.path.exists(f"/proc/{record['pid']}")
    fleet.wait_until(lambda: fleet.worker(worker.worker_id)["last_seen_at"] > seen_at, "another sign of life")


def test_record_tells_of_the_present_and_of_the_last_run(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("one")

    def record_says(**fields: object) -> bool:
        record = fleet.worker(worker.worker_id)
        return all(record[name] == value for name, value in fields.items())

    run_id = crew.submit_held()
    fleet.wait_until(
        lambda: record_says(state="RUNNING", current_run_id=run_id, current_run_ids=[run_id], last_run_id=None),
        "the present run in the registry",
    )
    crew.let_go()
    run = fleet.ended(run_id)
    ended = {"last_run_id": run_id, "last_run_status": "COMPLETED"}
    times = {"last_run_started_at": run["start_time"], "last_run_finished_at": run["end_time"]}
    fleet.wait_until(
        lambda: record_says(state="IDLE", current_run_id=None, current_run_ids=[], **ended, **times),
        "the last run in the registry",
    )
    failed = crew.submit(flow("fail"))
    fleet.ended(failed, "FAILED")
    fleet.wait_until(lambda: record_says(last_run_id=failed, last_run_status="FAILED"), "the failed run in it")


def test_restart_keeps_what_others_have_set_and_begins_a_new_life(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    first = crew.hire("one", **QUICK)
    # As a gateway does it, while the worker writes its signs of life.
    fleet.change_worker(first.worker_id, hidden=True, note="of another program")
    hidden_at = time.time()
    fleet.wait_until(lambda: fleet.worker(first.worker_id)["last_seen_at"] > hidden_at, "another sign of life")
    before = fleet.worker(first.worker_id)
    assert (before["hidden"], before["note"]) == (True, "of another program")
    assert first.stop() == 0
    stopped = fleet.worker(first.worker_id)
    assert (stopped["state"], stopped["hidden"]) == ("STOPPED_GRACEFUL", True)
    fleet.change_worker(first.worker_id, lost_at=time.time())
    crew.hire("one", **QUICK)
    after = fleet.worker(first.worker_id)
    assert (after["state"], after["hidden"], after["note"]) == ("IDLE", True, "of another program")
    assert (after["stopped_at"], after["stop_reason"], after["lost_at"]) == (None, None, None)
    assert after["instance_id"] != before["instance_id"]
