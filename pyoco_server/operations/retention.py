"""How long runs are kept: those that have ended expire, what comes back from long ago is ended for good, and no job
outlives its run.

This is the one place that gives a snapshot an expiry, whoever has ended the run: workers of 0.5.1 know of none. What a
nats-server has forgotten by expiry can come back in an older state after it was killed (nats-facts, trap 0): as a
run that goes on, for instance. A snapshot that nobody has written for so long and that is not terminal is therefore
no run: the read model does not show it, and here it is ended.

Source: design, section 7.
"""

from __future__ import annotations

import itertools
import logging
import time

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import RevisionConflict, RunNotFound
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.states import RunStatus
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore

logger = logging.getLogger(__name__)

#: Runs that are given their expiry in one turn.
_AT_A_TIME = 1_000
#: How long a run is kept that was ended because it came from long ago.
_GHOST_SEC = 60
_GHOST_ERROR = "expired: nobody has written this run for longer than runs are kept (PYOCO_RUN_RETENTION_SEC)."


class Retention:
    """Has runs expire; several gateways need no agreement, because of two that stamp a run one is refused.

    :param retention_sec: counted from the terminal write, by the server's clock; 0 = runs are kept for ever.
    """

    def __init__(self, runs: RunStore, model: ReadModel, queue: Queue, *, retention_sec: float) -> None:
        self._runs = runs
        self._model = model
        self._queue = queue
        self._retention_sec = retention_sec
        self._has_complained = False

    def apply(self) -> int:
        """Give an expiry to runs that have ended, end what came back, and remove the jobs that have no run any more; to
        be called every few seconds.

        :return: how many runs were given an expiry.
        :raises BusUnavailable: no answer; the next call goes on.
        """
        if not self._retention_sec or not self._can_expire():
            return 0
        count = self._runs.stamp(self._model.unstamped_runs(_AT_A_TIME), self._retention_sec)
        stale = self._model.stale_runs(time.time() - self._retention_sec)
        if stale:
            count += self._end_stale(stale)
        self._remove_old_jobs()
        return count

    def _can_expire(self) -> bool:
        """Say whether the bucket takes expiries; complain once where it does not."""
        can_expire = self._runs.allows_expiry()
        if not can_expire and not self._has_complained:
            logger.error(
                "runs cannot expire: the stream of their bucket was made without allow_msg_ttl. It is mended by: "
                "nats stream edit %s --allow-msg-ttl",
                self._runs.stream,
            )
        self._has_complained = not can_expire
        return can_expire

    def _end_stale(self, run_ids: list[str]) -> int:
        count = 0
        server_time = self._runs.server_time()
        for run_id in run_ids:
            try:
                stored = self._runs.get(run_id)
            except RunNotFound:
                self._model.forget(run_id)
                continue
            if stored.snapshot.status.is_terminal or server_time - stored.stored_at <= self._retention_sec:
                continue
            try:
                self._write_end(stored.snapshot, stored.revision)
            except RevisionConflict:
                # It is written after all; the next turn sees what it is.
                continue
            logger.warning("ended a run that nobody has written for longer than runs are kept: %s", run_id)
            count += 1
        return count

    def _remove_old_jobs(self) -> None:
        """Take jobs out of the queue that have lain there for longer than runs are kept, and whose runs are over.

        Their tags have no worker, so nobody else does; what nobody can read in there has no run either.
        """
        queued_before = self._runs.server_time() - self._retention_sec
        old = itertools.takewhile(lambda job: job.queued_at < queued_before, self._queue.jobs())
        for job in itertools.islice(old, _AT_A_TIME):
            if job.run_id is None or self._is_over(job.run_id):
                self._queue.remove(job.seq)
                logger.warning("removed a job that nobody has asked for while its run was kept: %s", job.run_id)

    def _is_over(self, run_id: str) -> bool:
        try:
            return self._runs.get(run_id).snapshot.status.is_terminal
        except RunNotFound:
            return True

    def _write_end(self, snapshot: Snapshot, revision: int) -> None:
        # As of then, so that it does not stand among those that have just ended.
        then = snapshot.updated_at
        ended = snapshot.ended(RunStatus.FAILED, error=_GHOST_ERROR, now=then)
        self._runs.update_to_end(ended, revision, ttl_sec=_GHOST_SEC)
