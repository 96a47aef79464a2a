"""Worker records, parsed once for each change: to parse those of a large fleet takes longer than a whole page may."""

from __future__ import annotations

import sqlite3

from pyoco_server.contract.workers import WorkerRecord


class WorkerRecords:
    """What the table of workers holds. Readers must not change it; every caller holds the lock of the model."""

    def __init__(self) -> None:
        #: By key: the revision, and what was stored as it.
        self._known: dict[str, tuple[int, WorkerRecord]] = {}

    def keep(self, key: str, revision: int, record: WorkerRecord) -> None:
        """Take note of a record that has just been parsed."""
        self._known[key] = (revision, record)

    def all(self, database: sqlite3.Connection) -> list[WorkerRecord]:
        """Give every record of the table; what is no longer in it is forgotten."""
        rows = database.execute("select worker_id, revision from workers").fetchall()
        self._known = {key: (revision, self._record(database, key, revision)) for key, revision in rows}
        return [record for _, record in self._known.values()]

    def _record(self, database: sqlite3.Connection, key: str, revision: int) -> WorkerRecord:
        known = self._known.get(key)
        if known is not None and known[0] == revision:
            return known[1]
        (document,) = database.execute("select document from workers where worker_id = ?", (key,)).fetchone()
        return WorkerRecord.from_bytes(document.encode())
