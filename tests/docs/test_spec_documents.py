"""``docs/spec.md`` names every field of what is stored in NATS, and no other."""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import fields
from typing import Any

import pytest
from pyoco.core.models import TaskRecord

from pyoco_server.config import Config
from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.keys import ApiKey, KeyRecord
from pyoco_server.contract.runs import Snapshot
from pyoco_server.contract.wheels import Actor, Source, WheelEvent
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.logs import CONTEXT_FIELDS, JsonFormatter
from pyoco_server.runner import engine
from pyoco_server.states import RunStatus, TaskState, WorkerState
from pyoco_server.stores.idempotency import KeyedRun
from pyoco_server.stores.logs import pack
from tests.support.documents import DOCS, section, table, words

#: A log that takes both forms of messages.
LONG_LOG = [{"seq": 0, "text": ""}, {"seq": 1, "text": "x" * 200_000}]
SPEC = (DOCS / "spec.md").read_text()


def names_of(kind: Any, *left_out: str) -> set[str]:
    return {item.name for item in fields(kind)} - set(left_out)


def worker() -> dict[str, Any]:
    return WorkerRecord("w", "i", WorkerState.IDLE, [], 1.0, 1.0).to_document()


def key_fields() -> set[str]:
    record = KeyRecord.of(ApiKey.generate(), "t", pepper="", now=1.0, is_read_only=True, expires_at=2.0)
    return set(json.loads(record.to_bytes()))


def wheel_event() -> dict[str, Any]:
    event = WheelEvent(1.0, "upload", "w.whl", [], 1, "00", True, Actor(), Source())
    document: dict[str, Any] = json.loads(event.to_bytes())
    return document


def task_record() -> set[str]:
    # The mark of a result that stands for its task is added where it does.
    return {*engine._document(TaskRecord(), "PENDING", 1)[0], "is_resumable"}


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("### Run snapshot", names_of(Snapshot, "extra")),
        ("### Task record", task_record()),
        ("### Job", names_of(Job)),
        ("### Worker record", set(worker())),
        ("### API key", key_fields()),
        ("### Wheels", set(wheel_event())),
        ("### Dead letter", names_of(DeadLetter)),
        ("### Log message", {name for payload in pack(1, LONG_LOG, "b") for name in json.loads(payload)}),
        ("### Idempotency key", names_of(KeyedRun)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fields_are_those_of_the_code(heading: str, expected: set[str]) -> None:
    assert sorted(row["field"] for row in table(section(SPEC, heading), "field")) == sorted(expected)


def test_wheel_sync_and_what_is_inside_others_is_named_in_full() -> None:
    rows = table(section(SPEC, "### Worker record"), "wheel_sync")
    assert {row["wheel_sync"] for row in rows} == set(worker()["wheel_sync"])
    events = {row["field"]: row["meaning"] for row in table(section(SPEC, "### Wheels"), "field")}
    for name in ("actor", "source"):
        assert set(re.findall(r"[a-z_]+_[a-z_]+|host|scheme", events[name].split(";")[0])) == set(wheel_event()[name])


def test_fields_that_are_absent_where_they_say_nothing_are_those_after_the_first_of_them() -> None:
    stated = Snapshot("r", "f", RunStatus.PENDING, 1.0, 1.0).to_document()
    listed = [row["field"] for row in table(section(SPEC, "### Run snapshot"), "field")]
    assert listed[: listed.index("instance_id")] == [name for name in listed if name in stated]


def test_log_lines_have_the_documented_fields() -> None:
    formatter = JsonFormatter("pyoco-server:http", Config(), {})
    try:
        raise ValueError("no")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "no", (), sys.exc_info(), "f")
    plain = logging.LogRecord("x", logging.INFO, __file__, 1, "yes", (), None, "f")
    rows = {row["log field"]: row["in"] for row in table(section(SPEC, "## Log lines"), "log field")}
    always, failed = formatter.fields(plain), formatter.fields(record)
    assert [name for name, where in rows.items() if where == "every line"] == list(always)
    assert [name for name, where in rows.items() if where.startswith("errors")] == list(failed)[len(always) :]
    assert [name for name in rows if name not in failed] == list(CONTEXT_FIELDS)
    assert set(failed["exc_origin"]) == set(words(re.findall(r"`(.*?)`", rows["exc_origin"])[0]))


def test_states_are_those_of_the_code() -> None:
    snapshot = {row["field"]: row for row in table(section(SPEC, "### Run snapshot"), "field")}
    assert words(snapshot["status"]["value"]) == [status.value for status in RunStatus]
    assert re.findall(r"[A-Z]{2,}", snapshot["tasks"]["meaning"]) == [state.value for state in TaskState]
    record = {row["field"]: row for row in table(section(SPEC, "### Worker record"), "field")}
    assert {*words(record["state"]["value"]), "DISCONNECTED"} == {state.value for state in WorkerState}
