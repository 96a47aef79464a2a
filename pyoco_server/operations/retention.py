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
from collections.abc import Callable

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import RevisionConflict, RunNotFound, SnapshotTooLarge
from pyoco_server.logs import RateLimit
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.states import RunStatus
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore

logger = logging.getLogger(__name__)

#: Runs that are given their expiry in one turn: two turns a second take a few hundredths of one processor. Where more
#: runs end for a while, the rest has its turn later: an expiry counts from the end of its run whenever it is given.
_STAMPED_AT_A_TIME = 100
#: When so many wait for theirs, all of these have it in one turn, piece by piece: more end than two small turns manage.
_MANY = 500
_BETWEEN_SEC = 0.05
#: Jobs that are looked at in one turn.
_JOBS_AT_A_TIME = 1_000
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
        self._log_limit = RateLimit()

    def stamp(self, pause: Callable[[float], bool]) -> int:
        """Give an expiry to some of the runs that have ended; to be called twice a second.

        :param pause: waits for so many seconds; says whether this one is to stop.
        :return: to how many.
        :raises BusUnavailable: no answer; the next call goes on.
        """
        if not self._retention_sec:
            return 0
        waiting = self._model.unstamped_runs(_MANY)
        now = self._server_time() if waiting else None
        if now is None:
            return 0
        turn = list(waiting.items())[: _MANY if len(waiting) == _MANY else _STAMPED_AT_A_TIME]
        count = 0
        for start in range(0, len(turn), _STAMPED_AT_A_TIME):
            if start and pause(_BETWEEN_SEC):
                break
            count += self._runs.stamp(dict(turn[start : start + _STAMPED_AT_A_TIME]), self._retention_sec, now)
        return count

    def end_old(self) -> int:
        """End what came back, and remove the jobs that have no run any more; to be called every few seconds.

        :return: how many runs were ended.
        :raises BusUnavailable: no answer; the next call goes on.
        """
        now = self._server_time() if self._retention_sec else None
        if now is None:
            return 0
        count = self._end_stale(self._model.stale_runs(time.time() - self._retention_sec), now)
        self._remove_old_jobs(now)
        return count

    def _server_time(self) -> float | None:
        """Give the time by the server's clock; ``None``, and one complaint, where the bucket takes no expiries."""
        now = self._runs.expiry_clock()
        if now is None and not self._has_complained:
            logger.error(
                "runs cannot expire: the stream of their bucket was made without allow_msg_ttl. It is mended by: "
                "nats stream edit %s --allow-msg-ttl",
                self._runs.stream,
            )
        self._has_complained = now is None
        return now

    def _end_stale(self, run_ids: list[str], now: float) -> int:
        count = 0
        for run_id in run_ids:
            try:
                stored = self._runs.get(run_id)
            except RunNotFound:
                self._model.forget(run_id)
                continue
            if stored.snapshot.status.is_terminal or now - stored.stored_at <= self._retention_sec:
                continue
            try:
                self._write_end(stored.snapshot, stored.revision)
            except RevisionConflict:
                # It is written after all; the next turn sees what it is.
                continue
            except SnapshotTooLarge as exc:
                # Its operator has lowered the cap below what is never left out. The others must not wait for it.
                if self._log_limit.allows("too large"):
                    logger.error("an old run cannot be ended: %s", exc, extra={"run_id": run_id})
                continue
            logger.warning("ended a run that nobody has written for longer than runs are kept: %s", run_id)
            count += 1
        return count

    def _remove_old_jobs(self, now: float) -> None:
        """Take jobs out of the queue that have lain there for longer than runs are kept, and whose runs are over.

        Their tags have no worker, so nobody else does; what nobody can read in there has no run either.
        """
        queued_before = now - self._retention_sec
        old = itertools.takewhile(lambda job: job.queued_at < queued_before, self._queue.jobs())
        for job in itertools.islice(old, _JOBS_AT_A_TIME):
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
