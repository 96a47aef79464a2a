"""The tables of the read model, and how a change of a bucket comes into them.

Source: design, section 3.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyoco_server.bridge.messages import Change
from pyoco_server.contract import names
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.readmodel import derived
from pyoco_server.readmodel.rows import run_row
from pyoco_server.states import TERMINAL

if TYPE_CHECKING:
    from pyoco_server.readmodel.model import ReadModel

logger = logging.getLogger(__name__)

#: The values of one row, in the order of the table; the key comes first.
Row = tuple[Any, ...]


class BucketTable:
    """One table of the model, fed by one follower; see :class:`pyoco_server.readmodel.follower.Table`."""

    def __init__(self, model: ReadModel, bucket: str, table: str, key: str) -> None:
        self._model = model
        self._stream = names.bucket_stream(bucket)
        self._prefix = names.key_subject(bucket, "")
        self._table = table
        self._key = key
        with model.reading() as database:
            columns = [column for (column,) in database.execute("select name from pragma_table_info(?)", (table,))]
        places = ", ".join("?" * len(columns))
        new = ", ".join(f"{column} = excluded.{column}" for column in columns if column != key)
        # A row stays where it is: one that is replaced would be taken out of all indexes and counts, and put in again.
        self._write = f"insert into {table} values ({places}) on conflict ({key}) do update set {new}"
        self.is_complete = False

    def position(self) -> tuple[str, int]:
        # The table holds one stream at a time: where another bucket was read last, nothing of this one is in it.
        statement = "select created, seq from position where name = ? and stream = ?"
        with self._model.reading() as database:
            row = database.execute(statement, (self._table, self._stream)).fetchone()
        return row or ("", 0)

    def restart(self, created: str) -> None:
        is_first = not self.position()[0]
        with self._model.writing() as database:
            self._empty(database)
            place = (self._table, self._stream, created)
            database.execute("insert or replace into position values (?, ?, ?, 0)", place)
        if not is_first:
            self._model.begin_anew(self._table)

    def apply(self, changes: Sequence[Change]) -> None:
        newest = {change.subject.removeprefix(self._prefix): change for change in changes}
        # Read before the database is taken: others wait for it.
        rows = [row for key, change in newest.items() if (row := self._read(key, change)) is not None]
        with self._model.writing() as database:
            self._store(database, newest, rows)
            database.execute("update position set seq = ? where name = ?", (changes[-1].seq, self._table))
        self._model.announce(self._table, newest, changes[-1].seq)

    def settle(self) -> Iterator[None]:
        return iter(())

    def set_complete(self, is_complete: bool) -> None:
        self.is_complete = is_complete

    def subjects(self) -> set[str]:
        with self._model.reading() as database:
            return {self._prefix + key for (key,) in database.execute(f"select {self._key} from {self._table}")}

    def subject(self, key: str) -> str:
        """Give the subject of a key."""
        return self._prefix + key

    def forget(self, subjects: Collection[str]) -> None:
        keys = [subject.removeprefix(self._prefix) for subject in subjects]
        with self._model.writing() as database:
            self._remove(database, keys)
        self._model.announce(self._table, keys, 0)

    def _read(self, key: str, change: Change) -> Row | None:
        """Give the row of what was stored under a key; ``None`` where that is nothing to be shown."""
        if change.is_removal:
            return None
        try:
            return self._row(key, change)
        except (ValueError, RecursionError) as exc:
            logger.warning("%s holds something that is not ours under %s: %s", self._stream, key, exc)
            return None

    def _row(self, key: str, change: Change) -> Row:
        """Make the row.

        :raises ValueError: it is nothing of ours; says why. So does ``RecursionError``.
        """
        raise AssertionError(f"{type(self).__name__} has no rows")

    def _store(self, database: sqlite3.Connection, changes: Mapping[str, Change], rows: Sequence[Row]) -> None:
        """Have these rows stand for what has changed, and nothing where there is none for a key."""
        self._remove(database, changes.keys() - {row[0] for row in rows})
        database.executemany(self._write, rows)

    def _empty(self, database: sqlite3.Connection) -> None:
        database.execute(f"delete from {self._table}")

    def _remove(self, database: sqlite3.Connection, keys: Collection[str]) -> None:
        statement = f"delete from {self._table} where {self._key} = ?"
        database.executemany(statement, [(key,) for key in keys])


class RunTable(BucketTable):
    """The runs."""

    def __init__(self, model: ReadModel, bucket: str) -> None:
        super().__init__(model, bucket, "runs", "run_id")
        #: Whether what was there at first has been applied: what comes after that has happened since.
        self._is_loaded = False
        #: Runs that have ended with the changes at hand.
        self._ended: list[dict[str, Any]] = []

    def restart(self, created: str) -> None:
        self._is_loaded = False
        super().restart(created)

    def apply(self, changes: Sequence[Change]) -> None:
        super().apply(changes)
        ended, self._ended = self._ended, []
        self._model.tell_ended(ended)

    def settle(self) -> Iterator[None]:
        with self._model.reading() as database:
            pieces = derived.missing(database)
        for statements in pieces:
            with self._model.writing() as database:
                for statement in statements:
                    database.execute(statement)
            yield

    def set_complete(self, is_complete: bool) -> None:
        super().set_complete(is_complete)
        self._is_loaded = self._is_loaded or is_complete

    def _row(self, key: str, change: Change) -> Row:
        return run_row(
            key,
            change,
            has_tenants=self._model.has_tenants,
            disconnect_timeout_sec=self._model.disconnect_timeout_sec,
        )

    def _store(self, database: sqlite3.Connection, changes: Mapping[str, Change], rows: Sequence[Row]) -> None:
        oldest_open_at = self._model.oldest_open_at()
        ghosts = {row[0] for row in rows if row[2] not in TERMINAL and changes[row[0]].stored_at < oldest_open_at}
        shown = [row for row in rows if row[0] not in ghosts]
        # What is there at the start has ended before, and nobody is told.
        if self._is_loaded:
            self._ended = [
                json.loads(row[-1]) for row in shown if row[2] in TERMINAL and self._goes_on(database, row[0])
            ]
        database.executemany("delete from ghosts where run_id = ?", [(key,) for key in changes])
        super()._store(database, changes, shown)
        database.executemany("insert into ghosts values (?)", [(key,) for key in ghosts])

    def _goes_on(self, database: sqlite3.Connection, run_id: str) -> bool:
        """Say whether a run has not ended as far as is known; one that is not known goes on."""
        known = database.execute("select status from runs where run_id = ?", (run_id,)).fetchone()
        return known is None or known[0] not in TERMINAL

    def _remove(self, database: sqlite3.Connection, keys: Collection[str]) -> None:
        super()._remove(database, keys)
        database.executemany("delete from ghosts where run_id = ?", [(key,) for key in keys])

    def _empty(self, database: sqlite3.Connection) -> None:
        derived.strip(database)
        database.execute("delete from ghosts")
        super()._empty(database)


class WorkerTable(BucketTable):
    """The registry of workers."""

    def __init__(self, model: ReadModel, bucket: str) -> None:
        super().__init__(model, bucket, "workers", "worker_id")

    def _row(self, key: str, change: Change) -> Row:
        """Make the row, and behind it the record that it is read as."""
        return key, change.seq, change.payload.decode(), _worker(change.payload)

    def _store(self, database: sqlite3.Connection, changes: Mapping[str, Change], rows: Sequence[Row]) -> None:
        super()._store(database, changes, [row[:-1] for row in rows])
        for row in rows:
            self._model.worker_records.keep(row[0], row[-1])

    def _remove(self, database: sqlite3.Connection, keys: Collection[str]) -> None:
        super()._remove(database, keys)
        for key in keys:
            self._model.worker_records.drop(key)

    def _empty(self, database: sqlite3.Connection) -> None:
        super()._empty(database)
        self._model.worker_records.clear()


def _worker(payload: bytes) -> WorkerRecord:
    """Read a record, and refuse one that a reader would stumble over.

    :raises ValueError: says why.
    """
    record = WorkerRecord.from_bytes(payload)
    if isinstance(record.last_seen_at, bool) or not isinstance(record.last_seen_at, (int, float)):
        raise ValueError("last_seen_at is not a time")
    return record
