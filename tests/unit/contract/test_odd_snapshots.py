"""What a snapshot holds that no program of the fleet writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyoco_server.contract.policy import DEFAULT_RETRY_DELAY_SEC
from pyoco_server.contract.runs import Snapshot
from pyoco_server.states import RunStatus
from tests.support.parts import stored_run


def read(**fields: Any) -> Snapshot:
    return Snapshot.from_bytes(json.dumps(stored_run("r", **fields)).encode())


@pytest.mark.parametrize(
    ("name", "values", "default"),
    [
        ("params", [["a"], "a", 7], {}),
        ("tags", ["gpu", {"gpu": 1}, 7], []),
        ("tasks", [["a"], "a", 7], {}),
        ("task_records", [[{}], "a"], {}),
        ("worker_id", [7, ["w"]], None),
        ("attempt", ["1", 1.5], 0),
        ("submitted_at", ["2026-01-01T00:00:00Z", 10**400], None),
        ("retry_at", [10**400, -(10**400)], None),
        ("retry_delay_sec", [10**400], DEFAULT_RETRY_DELAY_SEC),
        ("workflow_yaml_sha256", [7, ["0"]], None),
    ],
)
def test_value_that_no_program_writes_is_none(name: str, values: list[Any], default: Any) -> None:
    assert [getattr(read(**{name: value}), name) for value in values] == [default] * len(values)
    # Like null, and like what is not there.
    document = stored_run("r")
    document.pop(name, None)
    assert getattr(Snapshot.from_document(document), name) == getattr(read(**{name: None}), name) == default


def test_run_that_was_written_at_no_moment_was_written_long_ago() -> None:
    run = read(updated_at=10**400, heartbeat_at=10**400)
    assert (run.updated_at, run.heartbeat_at) == (0.0, 0.0)


def test_records_that_are_objects_stay_where_others_are_none() -> None:
    record = {"state": "SUCCEEDED"}
    assert read(task_records={"a": record, "b": None, "c": ["SUCCEEDED"]}).task_records == {"a": record}


def test_end_of_an_odd_run_can_be_written() -> None:
    run = read(tasks=["a"], task_records={"a": None}, tags="gpu", status="RUNNING", worker_id=7)
    ended = Snapshot.from_bytes(run.ended(RunStatus.CANCELLED, error=None, now=1.0).to_bytes(4096))
    assert (ended.status, ended.tasks, ended.task_records, ended.tags) == (RunStatus.CANCELLED, {}, {}, [])


@pytest.mark.parametrize("name", ["flow_name", "tag", "updated_at", "errors", "max_attempts"])
def test_run_that_no_list_could_hold_is_none(name: str) -> None:
    with pytest.raises(ValueError, match=f"the snapshot's {name} is a "):
        read(**{name: {"a": 1}})
