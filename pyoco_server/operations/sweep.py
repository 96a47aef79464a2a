"""Completing what a gateway left half done: a snapshot is stored, but its job may not be queued.

Source: design, section 4.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from pyoco_server.contract import deadletters, names
from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import BusError, FlowNotFound, RunNotFound, SnapshotTooLarge
from pyoco_server.logs import LogId, RateLimit
from pyoco_server.operations.submit import job_of
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.states import RunStatus
from pyoco_server.stores.deadletters import DeadLetterStore
from pyoco_server.stores.queue import Queue, QueueMemory
from pyoco_server.stores.runs import RunStore, StoredRun
from pyoco_server.stores.workflows import WorkflowStore

logger = logging.getLogger(__name__)

#: A younger run may still be on its way from its snapshot to its job.
MIN_AGE_SEC = 15.0
#: Of more runs than this the queue itself is read, one request a job, before two requests are spent on each.
_MAX_TRIED = 100
#: Share of the server's memory that is not relied on, for what a sweep itself takes; and at most so many seconds.
_MARGIN = 0.1
_MAX_MARGIN_SEC = 10.0
#: A run that was noted this long ago and is not PENDING in the read model is no longer of interest.
_NOTED_SEC = 60.0


class Sweep:
    """Queues the jobs of runs that are PENDING and may have none.

    Publishing again is harmless while the server remembers the message id. For longer than that only the queue itself
    tells: it is read first and each snapshot after it, so that a run which a worker takes meanwhile is not queued
    again. The claim makes a second copy harmless, so several gateways need no agreement.

    :param min_age_sec: a younger run is left alone.
    """

    def __init__(
        self,
        model: ReadModel,
        runs: RunStore,
        queue: Queue,
        workflows: WorkflowStore,
        dead_letters: DeadLetterStore,
        *,
        min_age_sec: float = MIN_AGE_SEC,
    ) -> None:
        self._model = model
        self._runs = runs
        self._queue = queue
        self._workflows = workflows
        self._dead_letters = dead_letters
        self._min_age_sec = min_age_sec
        self._lock = threading.Lock()
        #: Jobs that are known to have been queued, by their message ids, with the moment when that was noted.
        self._queued: dict[str, float] = {}
        self._queue_created = ""
        #: The revisions that are too large to be failed, by run.
        self._too_large: dict[str, int] = {}
        self._log_limit = RateLimit()

    def note_queued(self, run_id: str, attempt: int = 0) -> None:
        """Remember that the job of this run is in the queue.

        :param attempt: attempts that the run has had already.
        """
        with self._lock:
            self._queued[names.job_id(run_id, attempt)] = time.monotonic()

    def forget(self) -> None:
        """Forget which jobs are queued; to be called when the connection is lost.

        A server that lost its last writes, or whose stream was restored, comes back with the same stream and without
        some of its jobs.
        """
        with self._lock:
            self._queued.clear()
        self._too_large.clear()

    def sweep(self, now: float, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Queue what is missing.

        :param is_stopping: ends the sweep early when it says so.
        :return: how many jobs were published, those included that the server recognised.
        :raises BusUnavailable: no answer; the next sweep goes on.
        """
        memory = self._queue.memory()
        candidates = self._candidates(now, memory.created)
        count = 0
        doubtful: list[tuple[str, int]] = []
        for run_id, attempt in candidates:
            if is_stopping():
                return count
            stored = self._waiting(run_id, memory) if len(candidates) <= _MAX_TRIED else None
            if len(candidates) > _MAX_TRIED or (stored is not None and not self._is_remembered(stored, memory)):
                doubtful.append((run_id, attempt))
            elif stored is not None:
                count += self.queue(stored)
        if doubtful:
            count += self._sweep_doubtful(doubtful, memory, is_stopping)
        return count

    def _sweep_doubtful(self, runs: list[tuple[str, int]], memory: QueueMemory, is_stopping: Callable[[], bool]) -> int:
        in_queue = defaultdict[str | None, list[int]](list)
        for job in self._queue.jobs():
            if is_stopping():
                return 0
            in_queue[job.run_id].append(job.seq)
        count = 0
        for run_id, attempt in runs:
            if is_stopping():
                return count
            seqs = in_queue.get(run_id, [])
            if seqs and not attempt:
                self.note_queued(run_id, attempt)
                continue
            stored = self._waiting(run_id, memory)
            if stored is None:
                continue
            # What lies there may be the job of an attempt that has failed, which nobody will begin.
            if all(stored.snapshot.has_spent(seq) for seq in seqs):
                count += self.queue(stored)
            else:
                self.note_queued(run_id, attempt)
        return count

    def _candidates(self, now: float, queue_created: str) -> list[tuple[str, int]]:
        """Give the runs that wait and are not known to be queued, oldest first, with the attempts they have had."""
        pending = self._model.pending_runs(until=now - self._min_age_sec)
        noted_before = time.monotonic() - _NOTED_SEC
        with self._lock:
            if queue_created != self._queue_created:
                # The queue is another one than when its jobs were noted, and empty or older.
                self._queued.clear()
                self._queue_created = queue_created
            queued = dict(self._queued)
        # The bridge's thread notes jobs, too, and must not wait for as long as this may take.
        waiting = {names.job_id(*run): run for run in pending}
        old = [item for item in queued.items() if item[1] <= noted_before and item[0] not in waiting]
        with self._lock:
            for job_id, noted_at in old:
                if self._queued.get(job_id) == noted_at:
                    del self._queued[job_id]
        return [run for job_id, run in waiting.items() if job_id not in queued]

    def _waiting(self, run_id: str, memory: QueueMemory) -> StoredRun | None:
        """Read a run; ``None`` when it does not wait for its job any more, or not for long enough."""
        try:
            stored = self._runs.get(run_id)
        except RunNotFound:
            # Its submission was refused and withdrawn.
            self._model.forget(run_id)
            return None
        snapshot = stored.snapshot
        if snapshot.status is not RunStatus.PENDING or snapshot.origin is None:
            return None
        if snapshot.waits_for_retry:
            # Not for a job: it has none until it is due.
            return None
        # By the server's clock, since gateways on several machines do not agree on the time.
        return stored if memory.server_time - stored.stored_at >= self._min_age_sec else None

    def _is_remembered(self, stored: StoredRun, memory: QueueMemory) -> bool:
        """Say whether the server would recognise the run's job, and its text is there to make it again."""
        sha256 = stored.snapshot.workflow_yaml_sha256
        if sha256 is not None and self._workflows.get(sha256) is None:
            return False
        margin_sec = min(_MAX_MARGIN_SEC, memory.window_sec * _MARGIN)
        return memory.server_time - stored.stored_at < memory.window_sec - margin_sec

    def queue(self, stored: StoredRun) -> bool:
        """Queue the job of a run that is PENDING, or end the run where its workflow is not kept any more.

        :return: whether the job is in the queue; if not, a later sweep tries again.
        :raises BusUnavailable: no answer; a later sweep tries again.
        """
        snapshot, text = stored.snapshot, None
        try:
            if snapshot.workflow_yaml_sha256 is not None:
                text = self._workflows.get(snapshot.workflow_yaml_sha256)
                if text is None:
                    reason = deadletters.FLOW_NOT_FOUND
                    why = "the run has no job, and its workflow is not kept any more. Submit again."
                    self.fail(stored, reason, f"{reason}: {why}")
                    return False
            self._queue.publish(job_of(snapshot, text), snapshot.attempt)
        except BusError as exc:
            # This run's trouble alone: those behind it must not wait for it.
            logger.warning("a run still has no job: %s", exc, extra={"run_id": snapshot.run_id})
            return False
        self.note_queued(snapshot.run_id, snapshot.attempt)
        logger.info(
            "queued a run that had no job, as far as is known", extra={"run_id": snapshot.run_id, "tag": snapshot.tag}
        )
        return True

    def fail(self, stored: StoredRun, reason: str, error: str) -> None:
        """End a run that is PENDING and for which no job can be made.

        Its dead letter goes first: nobody looks for a run that has ended, so a letter that could not be published
        after the end would be lost. It is taken back where the run cannot be ended.

        :raises BusUnavailable: not confirmed; safe to repeat, and the next sweep does.
        """

        def intent(snapshot: Snapshot) -> Snapshot | None:
            if snapshot.status is not RunStatus.PENDING:
                return None
            return snapshot.ended(RunStatus.FAILED, error=error, now=time.time())

        snapshot = stored.snapshot.ended(RunStatus.FAILED, error=error, now=time.time())
        if self._too_large.get(snapshot.run_id) == stored.revision:
            return
        # Of a key of its own: a worker that has the run after all, and fails, has a letter of its own to write.
        letter_seq = self._dead_letters.publish(DeadLetter.of_run(snapshot, reason), key=f"jobless.{snapshot.run_id}")
        try:
            is_failed = self._runs.end(stored, intent) is not None or self._has_failed(snapshot)
        except SnapshotTooLarge as exc:
            # Its operator has lowered the cap below what is never left out. The others must not wait for it.
            is_failed = False
            self._too_large[snapshot.run_id] = stored.revision
            if self._log_limit.allows("too large"):
                logger.error("a run without a job cannot be ended: %s", exc, extra={"run_id": snapshot.run_id})
        if not is_failed:
            if letter_seq is not None:
                self._dead_letters.remove(letter_seq)
            return
        logger.error(
            "a run without a job cannot get one: %s",
            error,
            extra={
                "run_id": snapshot.run_id,
                "flow_name": snapshot.flow_name,
                "tag": snapshot.tag,
                "err_id": FlowNotFound.err_id if reason == deadletters.FLOW_NOT_FOUND else LogId.RUN_FAILED,
                "reason": reason,
            },
        )

    def _has_failed(self, ended: Snapshot) -> bool:
        """Say whether another gateway has written this end."""
        try:
            found = self._runs.get(ended.run_id).snapshot
        except RunNotFound:
            return False
        return (found.status, found.error) == (ended.status, ended.error)
