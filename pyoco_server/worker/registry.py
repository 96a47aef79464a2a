"""The worker's own record in the registry: who it is, what it does, and that it lives.

Source: contract, section 2, "Worker record".
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyoco_server
from pyoco_server.bridge.client import Bus
from pyoco_server.config import Config
from pyoco_server.contract.runs import Snapshot
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.errors import BusError, BusUnavailable
from pyoco_server.logs import RateLimit
from pyoco_server.service import Service
from pyoco_server.states import TERMINAL, WorkerState
from pyoco_server.stores.workers import WorkerStore

logger = logging.getLogger(__name__)

#: Changes are written at most this often: hundreds of small runs a second must not write hundreds of records.
_WRITE_SPACING_SEC = 0.5
#: How long a change waits for the next one: a run of milliseconds has ended by then, and was not held up by the write.
_SETTLE_SEC = 0.05
#: How long a write may take, beyond the interval, before the thread counts as stuck: NATS may be away meanwhile.
_PATIENCE_SEC = 30.0
#: How long a stop waits for NATS to take the last record.
_STOPPED_BUDGET_SEC = 3.0


class Registry(Service):
    """Writes the record: soon after a change, else as a sign of life. It fails when the connection has ended for good.

    :param on_drain: called once, when somebody has asked the worker to take no more runs and to stop.
    """

    def __init__(
        self,
        bus: Bus,
        store: WorkerStore,
        config: Config,
        *,
        worker_id: str,
        instance_id: str,
        tags: list[str],
        concurrency: int,
        on_failure: Callable[[Service], None],
        on_drain: Callable[[], None],
    ) -> None:
        super().__init__("pyoco-registry", on_failure)
        self._bus = bus
        self._store = store
        self._on_drain = on_drain
        self._is_draining = False
        self._claiming: set[str] = set()
        self._ended_counts = dict.fromkeys(sorted(status.value for status in TERMINAL), 0)
        self._interval_sec = config.worker_heartbeat_interval_sec
        self.patience_sec = self._interval_sec + _PATIENCE_SEC
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._log_limit = RateLimit()
        now = time.time()
        self._record = WorkerRecord(
            worker_id=worker_id,
            instance_id=instance_id,
            state=WorkerState.IDLE,
            tags=tags,
            updated_at=now,
            last_seen_at=now,
            concurrency=concurrency,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=pyoco_server.__version__,
        )

    @contextlib.contextmanager
    def claiming(self, run_id: str) -> Iterator[bool]:
        """Reserve a run for the slot that claims it, and say whether no other slot does so at this moment.

        Between the claim and :meth:`run_begun` the run looks like one that this worker has forgotten.
        """
        with self._lock:
            is_ours = run_id not in self._claiming
            self._claiming.add(run_id)
        try:
            yield is_ours
        finally:
            if is_ours:
                with self._lock:
                    self._claiming.discard(run_id)

    def run_begun(self, run_id: str) -> None:
        """Note a run that begins."""
        with self._lock:
            running = [*self._record.current_run_ids, run_id]
            self._record = replace(
                self._record, state=WorkerState.RUNNING, current_run_ids=running, current_run_id=running[0]
            )
        self._changed.set()

    def run_ended(self, run_id: str, ended: Snapshot | None) -> None:
        """Note a run that this worker no longer executes; ``None`` when it did not end here."""
        with self._lock:
            running = [other for other in self._record.current_run_ids if other != run_id]
            self._record = replace(
                self._record,
                state=WorkerState.RUNNING if running else WorkerState.IDLE,
                current_run_ids=running,
                current_run_id=running[0] if running else None,
            )
            if ended is not None:
                self._ended_counts[ended.status.value] += 1
                self._record = replace(
                    self._record,
                    last_run_id=run_id,
                    last_run_status=ended.status.value,
                    last_run_started_at=ended.start_time,
                    last_run_finished_at=ended.end_time or ended.updated_at,
                )
        self._changed.set()

    def wheels_synced(self, status: dict[str, Any]) -> None:
        """Note what has changed in wheel sync."""
        with self._lock:
            self._record = replace(self._record, wheel_sync={**self._record.wheel_sync, **status})
        self._changed.set()

    def is_active(self, run_id: str) -> bool:
        """Say whether this worker executes the run at the moment."""
        with self._lock:
            return run_id in self._record.current_run_ids

    @property
    def running_count(self) -> int:
        """How many runs this worker executes at the moment."""
        with self._lock:
            return len(self._record.current_run_ids)

    @property
    def ended_counts(self) -> dict[str, int]:
        """How many runs have ended in this worker, by their status; each status is there."""
        with self._lock:
            return dict(self._ended_counts)

    def write(self, *, budget_sec: float | None = None) -> None:
        """Write the record now.

        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :raises BusUnavailable: not confirmed.
        """
        with self._lock:
            self._record = self._record.seen(time.time())
            record = self._record
        written = self._store.put(record, budget_sec=budget_sec)
        if written.drain_requested_at is not None and not self._is_draining:
            self._is_draining = True
            logger.info("somebody has asked the worker to drain")
            self._on_drain()

    def write_stopped(self) -> None:
        """Write that the worker has stopped on purpose; the last thing it writes."""
        now = time.time()
        with self._lock:
            self._record = replace(
                self._record,
                state=WorkerState.STOPPED_GRACEFUL,
                stopped_at=now,
                stop_reason="graceful_shutdown",
                current_run_ids=[],
                current_run_id=None,
            )
        self.write(budget_sec=_STOPPED_BUDGET_SEC)

    def wake(self) -> None:
        self._changed.set()

    def run(self) -> None:
        with self._store.listen(self._record.worker_id, self._hear):
            self._serve()

    def _hear(self, payload: bytes) -> None:
        """Write at once, and see the request then, when somebody asks the worker to drain; on the loop thread."""
        with contextlib.suppress(ValueError):
            if not self._is_draining and WorkerRecord.from_bytes(payload).drain_requested_at is not None:
                self._changed.set()

    def _serve(self) -> None:
        while not self.is_stopping:
            self.beat()
            if self._bus.has_ended:
                # nats-py has given up, so a new process must try: this one would execute what others take over.
                raise BusUnavailable(f"NATS has ended the connection for good: {self._bus.last_error}")
            self._changed.clear()
            try:
                self.write()
            except (BusError, BusUnavailable) as exc:
                if self._log_limit.allows("write"):
                    logger.warning("the worker's record cannot be written: %s", exc)
            spacing_sec = min(_WRITE_SPACING_SEC, self._interval_sec)
            if self.pause(spacing_sec):
                break
            if self._changed.wait(self._interval_sec - spacing_sec):
                self.pause(_SETTLE_SEC)
