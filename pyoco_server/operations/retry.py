"""Trying failed runs again by their policy: when one is due, any gateway queues its next job.

A run that waits for its retry is PENDING with ``retry_at`` and has no job. When it is due, ``retry_at`` is taken away
by compare-and-set, so of several gateways one goes on; then the job is published. A gateway that ends in between leaves
a PENDING run without a job, and that is what the sweep looks for.

Source: design, section 5.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pyoco_server.contract import deadletters
from pyoco_server.errors import RevisionConflict, RunNotFound, SnapshotTooLarge
from pyoco_server.operations.sweep import Sweep
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.stores.runs import RunStore, StoredRun

logger = logging.getLogger(__name__)


class Retries:
    """Queues the next jobs of failed runs.

    :param sweep: publishes jobs, and repairs what is left half done.
    """

    def __init__(self, model: ReadModel, runs: RunStore, sweep: Sweep) -> None:
        self._model = model
        self._runs = runs
        self._sweep = sweep
        #: When each waiting run is due, ``time.monotonic()``, by its id and revision.
        self._due_at: dict[tuple[str, int], float] = {}

    def queue_due(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Queue the jobs of runs whose time has come; to be called about twice a second.

        :param is_stopping: ends it early when it says so.
        :return: how many were queued.
        :raises BusUnavailable: no answer; the next call goes on.
        """
        count = 0
        for run_id in self._due():
            if is_stopping():
                break
            count += self._queue(run_id)
        return count

    def _due(self) -> list[str]:
        waiting = self._model.waiting_retries()
        known = {place: self._due_at[place] for place in waiting if place in self._due_at}
        self._due_at = known
        new = [place for place in waiting if place not in known]
        if new:
            server_time, now = self._runs.server_time(), time.monotonic()
            for place in new:
                known[place] = now + self._left_sec(place[0], server_time)
        return [run_id for (run_id, _), due_at in known.items() if due_at <= time.monotonic()]

    def _left_sec(self, run_id: str, server_time: float) -> float:
        """Say how long a run has still to wait; 0 when it does not wait any more."""
        stored = self._waiting(run_id)
        if stored is None or stored.snapshot.retry_at is None:
            return 0.0
        # Both times of each difference are of one clock, since those of workers, gateways and NATS may differ.
        delay_sec = stored.snapshot.retry_at - stored.snapshot.updated_at
        return max(0.0, delay_sec - (server_time - stored.stored_at))

    def _queue(self, run_id: str) -> bool:
        stored = self._waiting(run_id)
        if stored is None:
            return False
        snapshot = stored.snapshot.due(time.time())
        try:
            revision = self._runs.update(snapshot, stored.revision)
        except RevisionConflict:
            # Another gateway was first, or somebody cancelled it.
            return False
        except SnapshotTooLarge as exc:
            # Its operator has lowered the cap since.
            self._sweep.fail(stored, deadletters.EXECUTION_ERROR, str(exc))
            return False
        logger.info("a failed run is tried again", extra={"run_id": run_id, "tag": snapshot.tag})
        return self._sweep.queue(StoredRun(snapshot, revision, stored.stored_at))

    def _waiting(self, run_id: str) -> StoredRun | None:
        try:
            stored = self._runs.get(run_id)
        except RunNotFound:
            return None
        return stored if stored.snapshot.waits_for_retry else None
