"""Worker records, parsed once for each change: to parse those of a large fleet takes longer than a whole page may."""

from __future__ import annotations

import sqlite3

from pyoco_server.contract.workers import WorkerRecord


class WorkerRecords:
    """What the table of workers holds. Changed under the model's lock, with the table; readers, who need no lock for
    it, must not change what they are given."""

    def __init__(self, database: sqlite3.Connection) -> None:
        rows = database.execute("select worker_id, document from workers").fetchall()
        #: Each change is one step of a dictionary.
        self._known = {key: WorkerRecord.from_bytes(document.encode()) for key, document in rows}

    def keep(self, key: str, record: WorkerRecord) -> None:
        """Take note of a record that was stored."""
        self._known[key] = record

    def drop(self, key: str) -> None:
        """Take note that a record was removed."""
        self._known.pop(key, None)

    def clear(self) -> None:
        """Take note that all were."""
        self._known.clear()

    def get(self, key: str) -> WorkerRecord | None:
        """Give a worker's record."""
        return self._known.get(key)

    def all(self) -> list[WorkerRecord]:
        """Give every record."""
        return list(self._known.values())
