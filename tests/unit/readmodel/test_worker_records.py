"""Worker records are parsed once for each change."""

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
def database() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:")
    made.execute("create table workers (worker_id text primary key, revision integer not null, document text not null)")
    made.executemany("insert into workers values (?, ?, ?)", [("a", 1, _payload("a")), ("b", 2, _payload("b"))])
    yield made
    made.close()


def test_a_record_that_did_not_change_is_not_parsed_again(database: sqlite3.Connection) -> None:
    records = WorkerRecords()
    first, second = records.all(database)
    database.execute("update workers set revision = 3, document = ? where worker_id = 'b'", (_payload("b", host="n"),))
    again, changed = records.all(database)
    assert again is first and (second.host, changed.host) == (None, "n")
    database.execute("delete from workers where worker_id = 'a'")
    assert records.all(database) == [changed]
    database.execute("insert into workers values ('a', 1, ?)", (_payload("a", host="new"),))
    assert {record.host for record in records.all(database)} == {"n", "new"}


def test_what_was_parsed_when_it_came_is_used_if_it_was_stored(database: sqlite3.Connection) -> None:
    records = WorkerRecords()
    came = WorkerRecord.from_bytes(_payload("a", host="came").encode())
    records.keep("a", 1, came)
    # Its transaction was taken back.
    records.keep("b", 9, WorkerRecord.from_bytes(_payload("b", host="lost").encode()))
    first, second = records.all(database)
    assert first is came and second.host is None
