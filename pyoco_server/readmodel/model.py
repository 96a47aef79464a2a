"""The read model: what lists, watches and pages read, so that none of them asks NATS.

Source: design, section 3.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.errors import ReadModelLoading
from pyoco_server.readmodel.follower import Follower
from pyoco_server.readmodel.keys import KeyTable
from pyoco_server.readmodel.queries import Cursor, RunQuery
from pyoco_server.readmodel.schema import open_database
from pyoco_server.readmodel.table import RunTable, WorkerTable
from pyoco_server.readmodel.watches import KnownRun, Listener, Watch, WatchedRun
from pyoco_server.readmodel.worker_records import WorkerRecords
from pyoco_server.service import Deadline, Service
from pyoco_server.states import RunStatus

logger = logging.getLogger(__name__)

#: How long a list waits for what this gateway has just written or read.
_SEEN_SEC = 2.0
#: Changes gather for so long while nobody waits for one: applied together they cost half as much.
_GATHERING_SEC = 0.02
#: How long a snapshot that was removed at once may still be on its way here.
_WITHDRAWAL_SEC = 0.5


@dataclass(frozen=True)
class RunPage:
    """A page of a list.

    :param documents: at least what a list shows of each run; of a small snapshot all but the task records.
    :param next_cursor: where the next page begins; ``None`` on the last.
    """

    documents: list[dict[str, Any]]
    next_cursor: Cursor | None


class ReadModel:
    """Runs and workers in SQLite, and API keys where they are asked for; each is kept in step by one thread."""

    def __init__(self, bus: Bus, config: Config, on_failure: Callable[[Service], None] | None = None) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self.has_tenants = config.asks_for_keys
        self._retention_sec = config.run_retention_sec
        self.disconnect_timeout_sec = config.worker_disconnect_timeout_sec
        self._database = open_database(config.read_model_path, has_tenants=self.has_tenants)
        lock = threading.RLock()
        self._applied = threading.Condition(lock)
        #: Told when somebody begins to wait for a change.
        self._awaited = threading.Condition(lock)
        self._waiting_count = 0
        #: By table: the last sequence that is in it, and the last that this gateway has written.
        self._applied_seqs = {"runs": 0, "workers": 0}
        self._seen_seqs = {"runs": 0, "workers": 0}
        self._life = 0
        self._ended_listeners: list[Callable[[dict[str, Any]], None]] = []
        self._watches: dict[str, WatchedRun] = {}
        self.worker_records = WorkerRecords(self._database)
        self._runs = RunTable(self, config.runs_kv_bucket)
        self._workers = WorkerTable(self, config.workers_kv_bucket)
        self._followers = [
            Follower(bus, names.bucket_stream(bucket), names.key_subject(bucket, ">"), table, on_failure, self._gather)
            for bucket, table in ((config.runs_kv_bucket, self._runs), (config.workers_kv_bucket, self._workers))
        ]
        #: Whoever watches a run may have lost the right to, so all look up after a change.
        self.keys = KeyTable(config.auth_kv_bucket, self.wake_watches)
        if config.asks_for_keys:
            stream = names.bucket_stream(config.auth_kv_bucket)
            self._followers.append(Follower(bus, stream, self.keys.subject, self.keys, on_failure))

    def start(self) -> None:
        """Begin to follow; :attr:`is_complete` says when lists can be answered."""
        self._applied_seqs = {"runs": self._runs.position()[1], "workers": self._workers.position()[1]}
        for follower in self._followers:
            follower.start()

    def stuck(self) -> list[str]:
        """Give the names of the followers that do not come round any more."""
        return [follower.name for follower in self._followers if follower.is_stuck]

    def stop(self, deadline: Deadline) -> None:
        """Stop following; works twice. Nothing may read the model afterwards."""
        for follower in self._followers:
            follower.request_stop()
        if all([follower.stop(deadline) for follower in self._followers]):
            with self._lock:
                self._database.close()

    def on_ended(self, listener: Callable[[dict[str, Any]], None]) -> None:
        """Have ``listener`` called with each run that ends from now on, once; with at least what lists show of it.

        Called on the follower's thread; must not block.
        """
        self._ended_listeners.append(listener)

    def wake_watches(self) -> None:
        """Let every watch look up, as when its stream is to end."""
        with self._applied:
            listeners = [listener for watched in self._watches.values() for listener in watched.listeners]
        for listener in listeners:
            listener.notify()

    @property
    def is_complete(self) -> bool:
        """Whether everything that NATS held at the last look is in the model, and the model is still fed."""
        has_keys = self.keys.is_complete or not self.has_tenants
        return self._runs.is_complete and self._workers.is_complete and has_keys and self._bus.is_connected

    def require_complete(self) -> None:
        """Refuse to answer from half a list.

        :raises ReadModelLoading: not complete yet, or cut off from NATS.
        """
        if not self.is_complete:
            raise ReadModelLoading("The list of runs is not complete: it is being loaded, or NATS is away. Ask again.")

    def note_seen(self, seq: int, table: str = "runs") -> None:
        """Take note of what this gateway has written or read in NATS: no list is answered without it from now on.

        Who asks for a list waits, and not the writer, who would have to be woken once more for each of many writes.

        :param seq: the sequence of the message.
        :param table: ``runs`` or ``workers``.
        """
        with self._applied:
            self._seen_seqs[table] = max(self._seen_seqs[table], seq)

    def catch_up(self, table: str = "runs") -> None:
        """Wait until what this gateway has written or read so far is in the model, for a while."""
        self.wait_for(self._seen_seqs[table], _SEEN_SEC, table)

    def wait_for(self, seq: int, timeout_sec: float, table: str = "runs") -> bool:
        """Wait until a sequence is in the model.

        :return: whether it is; ``False`` at once when nothing will come at the moment.
        """
        with self._applied:
            if self._applied_seqs[table] < seq:
                self._wait_for(seq, timeout_sec, table)
            return self._applied_seqs[table] >= seq

    def _wait_for(self, seq: int, timeout_sec: float, table: str) -> None:
        life = self._life
        self._waiting_count += 1
        self._awaited.notify_all()
        try:
            self._applied.wait_for(
                lambda: self._applied_seqs[table] >= seq or self._life != life or not self.is_complete, timeout_sec
            )
        finally:
            self._waiting_count -= 1

    def _gather(self) -> None:
        """Let changes come together for as long as nobody waits for one; called by those who apply them."""
        with self._awaited:
            self._awaited.wait_for(lambda: bool(self._waiting_count or self._watches), _GATHERING_SEC)

    @property
    def life(self) -> int:
        """Rises when the stream turns out to be another one than before, where revisions count anew."""
        return self._life

    def list_runs(self, query: RunQuery) -> RunPage:
        """Give a page of runs.

        :raises ReadModelLoading: see :meth:`require_complete`.
        """
        self.catch_up()
        statement, values = query.statement()
        with self.complete() as database:
            rows = database.execute(statement, values).fetchall()
        page = rows[: query.limit]
        cursor = Cursor(*page[-1][:2]) if len(rows) > query.limit else None
        return RunPage([json.loads(row[2]) for row in page], cursor)

    def run(self, run_id: str) -> KnownRun | None:
        """Give a run; ``None`` when the model has no such run."""
        watched = self._watches.get(run_id)
        if watched is not None and watched.found is not None:
            return watched.found[0]
        return self._look_up(run_id)

    def _look_up(self, run_id: str) -> KnownRun | None:
        """Read a run, once for all who watch it: hundreds that ask for one row spend their time on who may go on."""
        with self.reading() as database:
            statement = "select document, is_whole, revision, status from runs where run_id = ?"
            row = database.execute(statement, (run_id,)).fetchone()
            found = KnownRun(row[0] if row[1] else None, row[2], RunStatus(row[3])) if row else None
            watched = self._watches.get(run_id)
            if watched is not None:
                # Before the lock is free again, or what was read earlier could be noted last.
                watched.found = (found,)
        return found

    def has_run(self, run_id: str, tenant_id: str) -> bool:
        """Say whether the model knows a run as this tenant's."""
        with self.reading() as database:
            statement = "select 1 from runs where run_id = ? and tenant = ?"
            return database.execute(statement, (run_id, tenant_id)).fetchone() is not None

    def worker(self, worker_id: str) -> WorkerRecord | None:
        """Give a worker's record as it is stored; waits for nobody."""
        return self.worker_records.get(worker_id)

    def has_worker(self, worker_id: str) -> bool:
        """Say whether the registry has a worker's record, as far as is known now."""
        return self.worker_records.get(worker_id) is not None

    def workers(self) -> list[WorkerRecord]:
        """Give the records of all workers as they are stored, the one that was seen last first.

        :raises ReadModelLoading: see :meth:`require_complete`.
        """
        self.catch_up("workers")
        self.require_complete()
        return sorted(self.worker_records.all(), key=lambda worker: (-worker.last_seen_at, worker.worker_id))

    def pending_runs(self, *, until: float) -> list[tuple[str, int]]:
        """Give the PENDING runs that gateways of ours wrote before a moment and that should have a job, oldest first.

        :return: of each its id and the attempts that it has had.
        """
        statement = (
            "select run_id, attempt from runs indexed by runs_to_sweep where status = 'PENDING' and has_origin = 1"
            " and waits_for_retry = 0 and created_at < ? order by created_at"
        )
        with self.complete() as database:
            return database.execute(statement, (until,)).fetchall()

    def waiting_retries(self) -> list[tuple[str, int]]:
        """Give the runs that have failed and wait until they are tried again: their ids and revisions."""
        statement = "select run_id, revision from runs indexed by runs_to_retry where waits_for_retry = 1"
        with self.complete() as database:
            return database.execute(statement).fetchall()

    def oldest_open_at(self) -> float:
        """Give the moment, unix seconds, before which no run was written last that still goes on."""
        return time.time() - self._retention_sec if self._retention_sec else 0.0

    def unstamped_runs(self, limit: int) -> dict[str, int]:
        """Give terminal runs that were stored without an expiry, oldest first: their ids and revisions."""
        statement = (
            "select run_id, revision from runs indexed by runs_to_stamp"
            " where expires = 0 and status in ('COMPLETED', 'FAILED', 'CANCELLED') order by revision limit ?"
        )
        with self.complete() as database:
            return dict(database.execute(statement, (limit,)).fetchall())

    def stale_runs(self, before: float) -> list[str]:
        """Give the ids of runs that should go on and that nobody has written since a moment, those included that lists
        do not show."""
        statement = (
            "select run_id from ghosts union all select run_id from runs indexed by runs_open"
            " where status in ('PENDING', 'RUNNING', 'CANCELLING') and updated_at < ?"
        )
        with self.complete() as database:
            return [run_id for (run_id,) in database.execute(statement, (before,))]

    def cancelling_runs(self) -> list[tuple[str, bool]]:
        """Give the ids of the CANCELLING runs, oldest mark first, with whether a worker may have begun them."""
        statement = (
            "select run_id, document from runs indexed by runs_to_cancel"
            " where status = 'CANCELLING' order by updated_at"
        )
        with self.complete() as database:
            rows = database.execute(statement).fetchall()
        documents = [(run_id, json.loads(document)) for run_id, document in rows]
        return [
            (run_id, any(document.get(name) is not None for name in ("worker_id", "start_time")))
            for run_id, document in documents
        ]

    def forget(self, run_id: str) -> None:
        """Drop a run that was removed from the bucket without a message."""
        self._runs.forget([self._runs.subject(run_id)])

    def forget_worker(self, worker_id: str) -> None:
        """Drop a worker whose record was removed without a message."""
        self._workers.forget([self._workers.subject(worker_id)])

    def withdraw(self, run_id: str, revision: int) -> None:
        """Drop a run that was stored as this revision and removed again, also when it is still on its way here."""
        self.wait_for(revision, _WITHDRAWAL_SEC)
        self.forget(run_id)

    @contextlib.contextmanager
    def watch(self, run_id: str) -> Iterator[Watch]:
        """Be told of the changes of a run from now on."""
        watch = Watch()
        self.add_watch(run_id, watch)
        try:
            yield watch
        finally:
            self.remove_watch(run_id, watch)

    def add_watch(self, run_id: str, listener: Listener) -> None:
        """Tell somebody of the changes of a run, from now on and until :meth:`remove_watch`."""
        with self._applied:
            self._watches.setdefault(run_id, WatchedRun()).listeners.add(listener)
            self._awaited.notify_all()

    def remove_watch(self, run_id: str, listener: Listener) -> None:
        with self._applied:
            listeners = self._watches[run_id].listeners
            listeners.discard(listener)
            if not listeners:
                del self._watches[run_id]

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the database for a question about single runs by their ids, whatever it holds of them by now."""
        with self._lock:
            yield self._database

    @contextlib.contextmanager
    def complete(self) -> Iterator[sqlite3.Connection]:
        """Give the database for a question about many runs: it has all of them, and its indexes.

        :raises ReadModelLoading: see :meth:`require_complete`.
        """
        # Who is refused does not wait for an index that is being made.
        self.require_complete()
        with self._lock:
            self.require_complete()
            yield self._database

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the database for one transaction."""
        with self._lock:
            self._database.execute("begin")
            try:
                yield self._database
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    def begin_anew(self, table: str) -> None:
        """Take note that a table was emptied because its stream is another one."""
        with self._applied:
            self._applied_seqs[table] = self._seen_seqs[table] = 0
            if table != "runs":
                return
            self._life += 1
            for watched in self._watches.values():
                watched.found = None
        self.wake_watches()

    def tell_ended(self, documents: Sequence[dict[str, Any]]) -> None:
        """Pass on runs that have ended."""
        for document in documents:
            for listener in self._ended_listeners:
                listener(document)

    def applied_seq(self) -> int:
        """Give the sequence of the last change of a run that is in the model."""
        return self._runs.position()[1]

    def announce(self, table: str, keys: Iterable[str], seq: int) -> None:
        """Wake those who wait for these keys or for this sequence."""
        with self._applied:
            self._applied_seqs[table] = max(self._applied_seqs[table], seq)
            self._applied.notify_all()
            told = {key: list(self._watches[key].listeners) for key in keys if key in self._watches}
        if table != "runs":
            return
        for run_id, listeners in told.items():
            self._look_up(run_id)
            for listener in listeners:
                listener.notify()
