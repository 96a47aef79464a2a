"""The bucket of run snapshots.

Source: contract, section 2; design, section 4.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyoco_server.bridge.answers import unix_seconds
from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.key_hints import KeyHints
from pyoco_server.bridge.messages import Outcome, Stored, Write
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.runs import RESERVED_BYTES, Snapshot
from pyoco_server.errors import KeyMissing, RevisionConflict, RunNotFound, SnapshotTooLarge

#: Snapshots of so many runs are in memory at once, and on their way to the server within the time of one request.
_STAMPED_TOGETHER = 50


@dataclass(frozen=True)
class StoredRun:
    """A snapshot with its place in the store.

    :param revision: what the next compare-and-set must expect.
    :param stored_at: when the server stored it, unix seconds by the server's clock.
    """

    snapshot: Snapshot
    revision: int
    stored_at: float


class RunStore:
    """Reads snapshots and changes them by compare-and-set; nothing here overwrites blindly.

    :param note_read: told of each revision that is read.
    """

    def __init__(self, bus: Bus, config: Config, note_read: Callable[[int], None] = lambda revision: None) -> None:
        self._bus = bus
        self._bucket = config.runs_kv_bucket
        self._max_bytes = config.max_run_snapshot_bytes
        self._note_read = note_read

    def get(self, run_id: str, *, budget_sec: float | None = None) -> StoredRun:
        """Read a run from the leader.

        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :raises RunNotFound: there is none, or the id cannot be one.
        :raises BusUnavailable: no answer.
        """
        subject = self._subject(run_id)
        stream = names.bucket_stream(self._bucket)
        return self._found(run_id, lambda: self._bus.last(stream, subject, budget_sec=budget_sec))

    def begin_get(self, run_id: str, done: Callable[[Outcome[StoredRun], int], None]) -> None:
        """Read a run from the leader without waiting for it.

        :param done: told on the bridge's thread, which it must not block. The result is what :meth:`get` gives or
            raises, also where the outcome says of no failure: the snapshot is read when it is asked for, which takes
            the longer the more bytes it has; they are told beside it.
        :raises RunNotFound: the id cannot be one.
        :raises BusUnavailable: the connection is closed.
        """

        def read(outcome: Outcome[Stored]) -> None:
            if outcome.has_failed:
                done(Outcome(True, lambda: self._found(run_id, outcome.result)), 0)
                return
            stored = outcome.result()
            done(Outcome(False, lambda: self._found(run_id, lambda: stored)), len(stored.payload))

        self._bus.begin_last(names.bucket_stream(self._bucket), self._subject(run_id), read)

    def _subject(self, run_id: str) -> str:
        if not names.is_key(run_id):
            raise RunNotFound(run_id[: names.MAX_NAME_CHARS])
        return names.key_subject(self._bucket, run_id)

    def _found(self, run_id: str, read: Callable[[], Stored]) -> StoredRun:
        try:
            stored = read()
            found = StoredRun(Snapshot.from_bytes(stored.payload), stored.seq, stored.stored_at)
        except (KeyMissing, ValueError) as exc:
            # A tombstone has an empty payload: such a run is gone, too.
            raise RunNotFound(run_id) from exc
        self._note_read(found.revision)
        return found

    def get_all(self, run_ids: Sequence[str]) -> list[StoredRun]:
        """Read several runs from the leader, in this order; those that are gone are left out.

        :raises BusUnavailable: no answer.
        """
        return list(decoded(self.read_all(run_ids)))

    def read_all(self, run_ids: Sequence[str]) -> list[Stored]:
        """Read several runs as they lie in the store; see :meth:`get_all` and :func:`decoded`."""
        subjects = [names.key_subject(self._bucket, run_id) for run_id in run_ids]
        found = self._bus.last_of_each(names.bucket_stream(self._bucket), subjects)
        return [stored for stored in found if stored is not None]

    def creation(self, snapshot: Snapshot) -> Write:
        """Give the write that stores a run for the first time, to be sent together with its job.

        :raises SnapshotTooLarge: over the cap.
        """
        return self._write(snapshot, 0, reserved_bytes=RESERVED_BYTES)

    def update(
        self, snapshot: Snapshot, revision: int, *, budget_sec: float | None = None, ttl_sec: int | None = None
    ) -> int:
        """Replace the snapshot that has this revision.

        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :param ttl_sec: the run expires after so many seconds.
        :return: the new revision.
        :raises RevisionConflict: somebody else was first.
        :raises SnapshotTooLarge: over the cap even without task records.
        """
        return self._bus.write(self._write(snapshot, revision, ttl_sec=ttl_sec), budget_sec=budget_sec)[0]

    def update_to_end(self, ended: Snapshot, revision: int, *, ttl_sec: int | None = None) -> int:
        """Replace the snapshot of a run that nobody executes by its end; see :meth:`update`.

        One over the cap, as after its operator lowered it, is written without what makes it large: such a run must end,
        too.
        """
        try:
            return self.update(ended, revision, ttl_sec=ttl_sec)
        except SnapshotTooLarge:
            return self.update(ended.reduced(), revision, ttl_sec=ttl_sec)

    def change(
        self,
        stored: StoredRun,
        intent: Callable[[Snapshot], Snapshot | None],
        *,
        budget_sec: float | None = None,
    ) -> StoredRun | None:
        """Apply an intent to the run as it is now, again and again until no other writer was faster.

        :param stored: the run as the caller last saw it; read afresh after a conflict.
        :param intent: gives the new snapshot, or ``None`` when there is nothing to be done any more.
        :param budget_sec: seconds for the retries of each request; the connection's own when ``None``.
        :return: what was written; ``None`` when the intent gave up.
        :raises RunNotFound: the run has been removed meanwhile.
        """

        def update(snapshot: Snapshot, revision: int) -> int:
            return self.update(snapshot, revision, budget_sec=budget_sec)

        return self._change(stored, intent, update, budget_sec)

    def end(self, stored: StoredRun, intent: Callable[[Snapshot], Snapshot | None]) -> StoredRun | None:
        """Apply an intent that ends a run nobody executes; see :meth:`change` and :meth:`update_to_end`.

        :return: ``None`` also when the run has been removed.
        """
        try:
            return self._change(stored, intent, self.update_to_end)
        except RunNotFound:
            return None

    def remove(self, run_id: str, revision: int) -> None:
        """Remove a run of which nothing but its first snapshot was ever written; a newer one stays.

        By a purge of the subject up to that sequence: a delete marker makes 0.5.1's readers fail, and a key that
        was written once does not come back after a crash of the server (nats-facts, trap 0).
        """
        subject = names.key_subject(self._bucket, run_id)
        self._bus.api(f"STREAM.PURGE.{names.bucket_stream(self._bucket)}", {"filter": subject, "seq": revision + 1})

    @property
    def stream(self) -> str:
        """Name of the stream behind the bucket."""
        return names.bucket_stream(self._bucket)

    def expiry_clock(self) -> float | None:
        """Give the time by the server's clock, unix seconds, from which a snapshot's expiry is counted.

        :return: ``None`` where the bucket takes no expiry with a snapshot, as one that an older program made may not.
        :raises BusUnavailable: no answer.
        """
        info = self._bus.api(f"STREAM.INFO.{self.stream}")
        return unix_seconds(info["ts"]) if info["config"].get("allow_msg_ttl") else None

    def stamp(self, revisions: Mapping[str, int], retention_sec: float, now: float) -> int:
        """Have terminal runs expire, counted from their last write; all else about them stays as it is.

        :param revisions: of each run the one that is terminal and does not expire.
        :param now: the time by the server's clock, see :meth:`expiry_clock`.
        :return: how many were stamped; those that were written since are left.
        :raises BusUnavailable: no answer; safe to repeat.
        """
        known = iter(revisions.items())
        count = 0
        while some := dict(itertools.islice(known, _STAMPED_TOGETHER)):
            count += self._stamp(some, retention_sec, now)
        return count

    def _stamp(self, revisions: Mapping[str, int], retention_sec: float, now: float) -> int:
        subjects = [names.key_subject(self._bucket, run_id) for run_id in revisions]
        writes = []
        for stored, revision in zip(self._bus.last_of_each(self.stream, subjects), revisions.values(), strict=True):
            if stored is not None and stored.seq == revision:
                ttl_sec = max(1, math.ceil(stored.stored_at + retention_sec - now))
                writes.append(Write(stored.subject, stored.payload, expected_revision=stored.seq, ttl_sec=ttl_sec))
        outcomes = self._bus.write_each([[write] for write in writes])
        for outcome in outcomes:
            if not isinstance(outcome, (list, RevisionConflict)):
                raise outcome
        return sum(isinstance(outcome, list) for outcome in outcomes)

    def server_time(self) -> float:
        """Give the time by the server's clock, unix seconds: what ``stored_at`` is to be compared with."""
        return self._bus.server_time(names.bucket_stream(self._bucket))

    def silence_sec(self, stored: StoredRun) -> float:
        """Say for how long nobody has written this run who could have: while NATS did not answer, nobody could.

        Both times of the difference are the server's, since clocks of workers may disagree.

        :raises BusUnavailable: no answer; nothing is known.
        """
        return min(self.server_time() - stored.stored_at, self._bus.steady_sec)

    def _change(
        self,
        stored: StoredRun,
        intent: Callable[[Snapshot], Snapshot | None],
        update: Callable[[Snapshot, int], int],
        budget_sec: float | None = None,
    ) -> StoredRun | None:
        while True:
            snapshot = intent(stored.snapshot)
            if snapshot is None:
                return None
            try:
                return StoredRun(snapshot, update(snapshot, stored.revision), stored.stored_at)
            except RevisionConflict:
                stored = self.get(stored.snapshot.run_id, budget_sec=budget_sec)

    def _write(
        self, snapshot: Snapshot, revision: int, *, reserved_bytes: int = 0, ttl_sec: int | None = None
    ) -> Write:
        payload = snapshot.to_bytes(self._max_bytes, reserved_bytes=reserved_bytes)
        return Write(
            names.key_subject(self._bucket, snapshot.run_id), payload, expected_revision=revision, ttl_sec=ttl_sec
        )


def decoded(found: Iterable[Stored]) -> Iterator[StoredRun]:
    """Give the runs of which these are the last messages; what is none, as a tombstone, is left out."""
    for stored in found:
        with contextlib.suppress(ValueError):
            yield StoredRun(Snapshot.from_bytes(stored.payload), stored.seq, stored.stored_at)


class RunHints:
    """Word of writes to single runs, as they are made; see :class:`KeyHints` for what a hint is worth."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self._hints = KeyHints(bus)
        self._bucket = config.runs_kv_bucket

    def listen(self, run_id: str, hear: Callable[[bytes], None]) -> contextlib.AbstractContextManager[None]:
        """Hear of writes to this run for as long as the ``with`` block lasts; see :meth:`KeyHints.listen`."""
        return self._hints.listen(names.key_subject(self._bucket, run_id), hear)
