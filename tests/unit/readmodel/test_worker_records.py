"""Worker records are parsed once for each change, and are those of the table."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.readmodel.worker_records import WorkerRecords


def _payload(worker_id: str, **fields: Any) -> str:
    record = {"worker_id": worker_id, "instance_id": "i", "state": "IDLE", "tags": ["a"]}
    return json.dumps({**record, "updated_at": 1.0, "last_seen_at": 1.0, **fields})


@pytest.fixture
def records() -> Iterator[WorkerRecords]:
    """The records of a table that held two workers when it was opened."""
    made = sqlite3.connect(":memory:")
    made.execute("create table workers (worker_id text primary key, revision integer not null, document text not null)")
    made.executemany("insert into workers values (?, ?, ?)", [("a", 1, _payload("a")), ("b", 2, _payload("b"))])
    yield WorkerRecords(made)
    made.close()


def test_what_the_table_held_is_known_from_the_start_and_parsed_once(records: WorkerRecords) -> None:
    first, second = records.all()
    assert [first.worker_id, second.worker_id] == ["a", "b"]
    assert records.get("a") is first and records.all()[0] is first


def test_what_changes_in_the_table_changes_here(records: WorkerRecords) -> None:
    came = WorkerRecord.from_bytes(_payload("b", host="came").encode())
    records.keep("b", came)
    records.drop("a")
    records.drop("never there")
    assert records.all() == [came]
    assert (records.get("a"), records.get("b")) == (None, came)
    records.clear()
    assert (records.all(), records.get("b")) == ([], None)
