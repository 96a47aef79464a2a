"""One table of the read model, and how a change of its bucket comes into it.

Source: design, section 3.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyoco_server.bridge.messages import Change
from pyoco_server.contract import names
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.readmodel.schema import run_row
from pyoco_server.states import TERMINAL

if TYPE_CHECKING:
    from pyoco_server.readmodel.model import ReadModel

logger = logging.getLogger(__name__)


class BucketTable:
    """One table of the model, fed by one follower; see :class:`Table`."""

    def __init__(self, model: ReadModel, bucket: str, table: str, key: str) -> None:
        self._model = model
        self._stream = names.bucket_stream(bucket)
        self._prefix = names.key_subject(bucket, "")
        self._table = table
        self._key = key
        self.is_complete = False
        #: Whether what was there at first has been applied: what comes after that has happened since.
        self._is_loaded = False

    def position(self) -> tuple[str, int]:
        # The table holds one stream at a time: where another bucket was read last, nothing of this one is in it.
        statement = "select created, seq from position where name = ? and stream = ?"
        with self._model.reading() as database:
            row = database.execute(statement, (self._table, self._stream)).fetchone()
        return row or ("", 0)

    def restart(self, created: str) -> None:
        is_first = not self.position()[0]
        self._is_loaded = False
        with self._model.writing() as database:
            database.execute(f"delete from {self._table}")
            if self._table == "runs":
                database.execute("delete from retained")
            place = (self._table, self._stream, created)
            database.execute("insert or replace into position values (?, ?, ?, 0)", place)
        if not is_first:
            self._model.begin_anew(self._table)

    def apply(self, changes: Sequence[Change]) -> None:
        keys = [change.subject.removeprefix(self._prefix) for change in changes]
        ended: list[dict[str, Any]] = []
        with self._model.writing() as database:
            for key, change in zip(keys, changes, strict=True):
                self._apply_one(database, key, change, ended)
            database.execute("update position set seq = ? where name = ?", (changes[-1].seq, self._table))
        self._model.announce(self._table, keys, changes[-1].seq)
        self._model.tell_ended(ended)

    def set_complete(self, is_complete: bool) -> None:
        self.is_complete = is_complete
        self._is_loaded = self._is_loaded or is_complete

    def subjects(self) -> set[str]:
        with self._model.reading() as database:
            return {self._prefix + key for (key,) in database.execute(f"select {self._key} from {self._table}")}

    def subject(self, key: str) -> str:
        """Give the subject of a key."""
        return self._prefix + key

    def forget(self, subject: str) -> None:
        key = subject.removeprefix(self._prefix)
        with self._model.writing() as database:
            self._remove(database, key)
        self._model.announce(self._table, [key], 0)

    def _apply_one(self, database: sqlite3.Connection, key: str, change: Change, ended: list[dict[str, Any]]) -> None:
        """Take one change over; a run that was not terminal before and has ended since is added to ``ended``."""
        if change.is_removal:
            self._remove(database, key)
            return
        try:
            if self._table == "runs":
                row = self._row(key, change)
                # What is there at the start has ended before, and nobody is told.
                if self._is_loaded and row[2] in TERMINAL:
                    known = database.execute("select status from runs where run_id = ?", (key,)).fetchone()
                    if known is None or known[0] not in TERMINAL:
                        ended.append(json.loads(row[-1]))
                is_ghost = row[2] not in TERMINAL and change.stored_at < self._model.oldest_open_at()
                if is_ghost:
                    self._remove(database, key)
                else:
                    database.execute(f"insert or replace into runs values ({', '.join('?' * len(row))})", row)
                if is_ghost or (row[2] in TERMINAL and not change.expires):
                    database.execute("insert into retained values (?, ?)", (key, is_ghost))
            else:
                self._model.worker_records.keep(key, change.seq, _worker(change.payload))
                row = (key, change.seq, change.payload.decode())
                database.execute("insert or replace into workers values (?, ?, ?)", row)
        except (ValueError, RecursionError) as exc:
            logger.warning("%s holds something that is not ours under %s: %s", self._stream, key, exc)
            self._remove(database, key)

    def _row(self, key: str, change: Change) -> tuple[Any, ...]:
        return run_row(
            key,
            change.payload,
            change.seq,
            has_tenants=self._model.has_tenants,
            disconnect_timeout_sec=self._model.disconnect_timeout_sec,
        )

    def _remove(self, database: sqlite3.Connection, key: str) -> None:
        database.execute(f"delete from {self._table} where {self._key} = ?", (key,))
        if self._table == "runs":
            database.execute("delete from retained where run_id = ?", (key,))


def _worker(payload: bytes) -> WorkerRecord:
    """Read a record, and refuse one that a reader would stumble over.

    :raises ValueError: says why.
    """
    record = WorkerRecord.from_bytes(payload)
    if isinstance(record.last_seen_at, bool) or not isinstance(record.last_seen_at, (int, float)):
        raise ValueError("last_seen_at is not a time")
    return record
