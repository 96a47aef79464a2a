"""The bucket of the worker registry.

Source: contract, section 2, "Worker record".
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.key_hints import KeyHints
from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.streams import subjects_of
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.errors import CannotDrain, KeyMissing, RevisionConflict, WorkerNotFound


@dataclass(frozen=True)
class StoredWorker:
    """A record as it lies in the bucket.

    :param stored_at: when it was stored, unix seconds by the server's clock.
    """

    record: WorkerRecord
    stored_at: float


class WorkerStore:
    """Reads and writes worker records."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self._bus = bus
        self._bucket = config.workers_kv_bucket

    def get(self, worker_id: str) -> WorkerRecord | None:
        """Read a worker's record; ``None`` when it has none.

        :raises BusUnavailable: no answer.
        """
        return self._read(worker_id)[0] if names.is_key(worker_id) else None

    def all(self) -> list[StoredWorker]:
        """Read all records; what is none is passed over.

        :raises ResourceMissing: there is no such bucket.
        :raises BusUnavailable: no answer.
        """
        stream = names.bucket_stream(self._bucket)
        subjects = list(subjects_of(self._bus, stream, names.key_subject(self._bucket, ">")))
        found = []
        for stored in self._bus.last_of_each(stream, subjects):
            if stored is not None:
                # A tombstone, for one.
                with contextlib.suppress(ValueError):
                    found.append(StoredWorker(WorkerRecord.from_bytes(stored.payload), stored.stored_at))
        return found

    def put(self, record: WorkerRecord, *, budget_sec: float | None = None) -> WorkerRecord:
        """Write a worker's own record; what others set in it (``hidden``, ``drain_requested_at``) is kept.

        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :return: the record as written.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        while True:
            current, revision = self._read(record.worker_id, budget_sec)
            if current is not None:
                record = replace(record, hidden=current.hidden, extra=current.extra)
                if current.instance_id == record.instance_id:
                    record = replace(record, drain_requested_at=current.drain_requested_at)
            with contextlib.suppress(RevisionConflict):
                self._bus.write(self._write(record, revision), budget_sec=budget_sec)
                return record

    def listen(self, worker_id: str, hear: Callable[[bytes], None]) -> contextlib.AbstractContextManager[None]:
        """Hear of writes to this record for as long as the ``with`` block lasts; see :meth:`KeyHints.listen`."""
        return KeyHints(self._bus).listen(names.key_subject(self._bucket, worker_id), hear)

    def set_hidden(self, worker_id: str, hidden: bool, *, now: float) -> tuple[WorkerRecord, int]:
        """Hide a worker from lists, or show it again; it goes on all the same.

        :return: the record as written, and its revision.
        :raises WorkerNotFound: it has no record.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        return self._change(worker_id, lambda record: replace(record, hidden=hidden, updated_at=now))

    def request_drain(self, worker_id: str, *, now: float, timeout_sec: float) -> tuple[WorkerRecord, int]:
        """Ask a worker to take no more runs and to stop; asked again, it stays as it was asked first.

        :param timeout_sec: silence after which a worker counts as gone.
        :return: the record as written, and its revision.
        :raises WorkerNotFound: it has no record.
        :raises CannotDrain: it is gone, or of a version that nobody can ask.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """

        def change(record: WorkerRecord) -> WorkerRecord:
            if not record.instance_id:
                raise CannotDrain(
                    f"Worker {worker_id} is of a version that cannot be asked to drain: send it SIGTERM where it runs."
                )
            if not record.is_live(now, timeout_sec):
                silence_sec = now - record.last_seen_at
                raise CannotDrain(f"Worker {worker_id} is gone: it was seen last {silence_sec:.0f} s ago.")
            return replace(record, drain_requested_at=record.drain_requested_at or now)

        return self._change(worker_id, change)

    def remove(self, worker_id: str, *, unseen_since: float) -> bool:
        """Remove the record of a worker that has not been seen since a moment, unix seconds; a newer record stays.

        By a purge, without a marker: should a crash of the server bring the record back, it is as old and goes again.

        :return: whether there was such a record.
        """
        record, revision = self._read(worker_id)
        if record is None or record.last_seen_at >= unseen_since:
            return False
        subject = names.key_subject(self._bucket, worker_id)
        self._bus.api(f"STREAM.PURGE.{names.bucket_stream(self._bucket)}", {"filter": subject, "seq": revision + 1})
        return True

    def _change(self, worker_id: str, change: Callable[[WorkerRecord], WorkerRecord]) -> tuple[WorkerRecord, int]:
        while True:
            record, revision = self._read(worker_id) if names.is_key(worker_id) else (None, 0)
            if record is None:
                raise WorkerNotFound(worker_id[: names.MAX_NAME_CHARS])
            record = change(record)
            with contextlib.suppress(RevisionConflict):
                return record, self._bus.write(self._write(record, revision))[0]

    def _write(self, record: WorkerRecord, revision: int) -> Write:
        subject = names.key_subject(self._bucket, record.worker_id)
        return Write(subject, record.to_bytes(), expected_revision=revision)

    def mark_lost(self, worker_id: str, instance_id: str, lost_at: float) -> bool:
        """Note that this life of a worker has ended without a word; all else in its record stays as it is.

        :return: whether it was noted; ``False`` when there is no record of this life.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        stream, subject = names.bucket_stream(self._bucket), names.key_subject(self._bucket, worker_id)
        while True:
            try:
                stored = self._bus.last(stream, subject)
                if WorkerRecord.from_bytes(stored.payload).instance_id != instance_id:
                    return False
            except (KeyMissing, ValueError):
                return False
            # Not by the record: it writes fields that were not there, and drops those that are none.
            document = {**json.loads(stored.payload), "lost_at": lost_at}
            try:
                self._bus.write(Write(subject, json.dumps(document).encode(), expected_revision=stored.seq))
                return True
            except RevisionConflict:
                continue

    def _read(self, worker_id: str, budget_sec: float | None = None) -> tuple[WorkerRecord | None, int]:
        stream, subject = names.bucket_stream(self._bucket), names.key_subject(self._bucket, worker_id)
        try:
            stored = self._bus.last(stream, subject, budget_sec=budget_sec)
        except KeyMissing:
            return None, 0
        try:
            return WorkerRecord.from_bytes(stored.payload), stored.seq
        except ValueError:
            # A tombstone, or something that none of us wrote: its revision counts all the same.
            return None, stored.seq
