"""What is stored under a run's key, and is not the snapshot of a run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyoco_server.contract.runs import Snapshot
from pyoco_server.states import RunStatus
from tests.support.parts import stored_run


def _read(**fields: Any) -> Snapshot:
    return Snapshot.from_bytes(json.dumps(stored_run("r", **fields)).encode())


@pytest.mark.parametrize(
    "odd",
    [
        {"tasks": ["a"]},
        {"tasks": "a"},
        {"task_records": [{}]},
        {"task_records": {"a": None}},
        {"task_records": {"a": ["SUCCEEDED"]}},
        {"submitted_at": "2026-01-01T00:00:00Z"},
        {"submitted_at": 10**400},
        {"updated_at": float("inf")},
        {"retry_at": float("nan")},
        {"worker_id": 7},
        {"attempt": "1"},
        {"attempt": 1.5},
        {"tags": "gpu"},
        {"tags": {"gpu": 1}},
    ],
    ids=lambda odd: str(odd)[:40],
)
def test_field_that_no_program_of_the_fleet_writes_so_is_not_a_snapshots(odd: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        _read(**odd)


@pytest.mark.parametrize("name", ["tags", "tasks", "task_records", "worker_id", "attempt", "submitted_at"])
def test_null_reads_like_what_is_not_there(name: str) -> None:
    document = stored_run("r")
    without = {key: value for key, value in document.items() if key != name}
    assert Snapshot.from_document({**document, name: None}) == Snapshot.from_document(without)


def test_what_0_5_1_stores_of_a_run_is_read_as_it_is() -> None:
    record = {
        "state": "FAILED",
        "started_at": 1.0,
        "ended_at": 2,
        "duration_ms": 1000.0,
        "error": "x",
        "traceback": None,
        "inputs": {},
        "output": None,
        "artifacts": [],
    }
    run = _read(
        status="FAILED",
        worker_id="w",
        tasks={"a": "FAILED", "b": "PENDING"},
        task_records={"a": record},
        task_records_truncated=False,
        start_time=1,
        end_time=2.0,
        error="x",
        heartbeat_at=2,
        updated_at=2,
    )
    assert run.status is RunStatus.FAILED
    assert (run.tags, run.tasks, run.task_records, run.worker_id, run.attempt, run.submitted_at) == (
        ["default"],
        {"a": "FAILED", "b": "PENDING"},
        {"a": record},
        "w",
        0,
        None,
    )
