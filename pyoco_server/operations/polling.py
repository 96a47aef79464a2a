"""Handing out runs to workers that ask over HTTP.

A gateway fetches the job and claims the run on behalf of the worker. What it takes to look after both stands in the
run's snapshot from then on, so any gateway goes on where another stopped.

Source: contract, section 3, "pyoco's own client and worker".
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence

from pyoco_server.bridge.messages import Delivery
from pyoco_server.config import Config
from pyoco_server.contract import deadletters
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.leases import PollLease
from pyoco_server.errors import BusError, BusUnavailable, InvalidJob, ResourceMissing, SnapshotTooLarge
from pyoco_server.operations.authenticate import Caller
from pyoco_server.operations.claim import BEHIND_TICK_SEC, Claims, Verdict
from pyoco_server.operations.finish import Finish
from pyoco_server.operations.hand_back import hand_back_unused
from pyoco_server.operations.holder import Holders
from pyoco_server.readmodel.polled import PolledRuns
from pyoco_server.stores.deadletters import DeadLetterStore
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore, StoredRun

#: How long the queue is asked for a job; what waits already comes within it, on a busy machine, too. A consumer that
#: was made for the first job of its tag takes longer.
_PULL_SEC = 0.005
_FIRST_PULL_SEC = 0.5
_FIRST_PAUSE_SEC = 0.01
#: Queues are asked one poll after the other. A poll that has to wait longer than this for its turn gives up.
_TURN_SEC = 1.0
#: How often one poll asks at most: a job that is not for it costs one of the job's deliveries.
_MAX_PULLS = 10
#: How long such a job stays away.
_HAND_BACK_SEC = 5.0
#: How many of one tag stay away at the same time: they count as pending acknowledgements, of which the queue allows
#: PYOCO_CONSUMER_MAX_ACK_PENDING, and when these are reached nobody gets a job.
_MAX_AWAY = 50


class _Away:
    """Counts the declined jobs of each tag that still stay away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: When they were declined, oldest first, ``time.monotonic()``.
        self._moments: dict[str, deque[float]] = {}

    def note(self, tag: str) -> None:
        with self._lock:
            self._moments.setdefault(tag, deque()).append(time.monotonic())

    def count(self, tag: str) -> int:
        with self._lock:
            moments = self._moments.get(tag, deque())
            # A second more, because the queue hears of it later.
            while moments and moments[0] < time.monotonic() - _HAND_BACK_SEC - 1:
                moments.popleft()
            if not moments:
                self._moments.pop(tag, None)
            return len(moments)


class Polling:
    """Answers polls."""

    def __init__(
        self,
        polled: PolledRuns,
        queue: Queue,
        runs: RunStore,
        holders: Holders,
        dead_letters: DeadLetterStore,
        config: Config,
    ) -> None:
        self._polled = polled
        self._queue = queue
        self._runs = runs
        self._holders = holders
        self._dead_letters = dead_letters
        self._config = config
        self._turn = threading.Lock()
        self._away = _Away()

    def take(self, caller: Caller, worker_id: str, tags: Sequence[str]) -> StoredRun | None:
        """Claim a run of the caller's tenant for a worker; it belongs to the worker until its lease is over.

        The queue is only asked where the read model knows of such a run: what it gives that is not for the caller costs
        a delivery, and a delay.

        :param tags: routing tags, any of them; none is preferred.
        :return: ``None`` when there is nothing for it.
        :raises ReadModelLoading: nobody can say yet what waits.
        :raises BusUnavailable: no answer; a run that was claimed all the same comes back after its lease.
        """
        found = self._polled.tags_with_free_runs(caller.tenant_id, tags)
        pull_count = 0
        for tag in random.sample(found, len(found)):
            while pull_count < _MAX_PULLS:
                pull_count += 1
                delivery = self._pull(tag)
                if delivery is None:
                    break
                claimed = self._consider(delivery, tag, caller, worker_id)
                if claimed is not None:
                    return claimed
        return None

    def give_back(self, stored: StoredRun) -> None:
        """Return a run that was just claimed: its worker has not waited for the answer.

        :raises BusUnavailable: no answer; it comes back after its lease.
        """
        claim = stored.snapshot
        released = self._runs.change(
            stored, lambda snapshot: snapshot.released(time.time()) if snapshot.is_held_by(claim) else None
        )
        if released is not None:
            self._queue.deliveries.nak(self._queue.leased(claim))

    def _pull(self, tag: str) -> Delivery | None:
        if not self._turn.acquire(timeout=_TURN_SEC):
            raise BusUnavailable("The queue was not asked for a run: NATS is slow to answer those who asked before.")
        try:
            if self._away.count(tag) >= _MAX_AWAY:
                return None
            return self._queue.pull(tag, wait_sec=_PULL_SEC)
        except ResourceMissing:
            # There are runs for it: else anybody could make as many consumers as the server allows.
            self._queue.ensure(tag)
            return self._first_pull(tag)
        finally:
            self._turn.release()

    def _first_pull(self, tag: str) -> Delivery | None:
        """Ask a queue that was just made, by whomever: the server knows of a consumer before that answers."""
        end = time.monotonic() + _FIRST_PULL_SEC
        while True:
            left_sec = end - time.monotonic()
            try:
                return self._queue.pull(tag, wait_sec=max(left_sec, _PULL_SEC))
            except ResourceMissing:
                if left_sec <= 0:
                    raise
            time.sleep(_FIRST_PAUSE_SEC)

    def _consider(self, delivery: Delivery, tag: str, caller: Caller, worker_id: str) -> StoredRun | None:
        """Claim the run of a delivered job, or send the job where it belongs."""
        try:
            return self._claim(delivery, tag, caller, worker_id)
        except (BusError, BusUnavailable):
            with contextlib.suppress(BusError, BusUnavailable):
                hand_back_unused(self._queue, self._claims(worker_id), delivery)
            raise

    def _claim(self, delivery: Delivery, tag: str, caller: Caller, worker_id: str) -> StoredRun | None:
        finish = Finish(self._queue.deliveries, self._runs, self._dead_letters, worker_id=worker_id)
        try:
            job = Job.from_bytes(delivery.payload)
        except InvalidJob as exc:
            finish.reject(delivery, exc, tag)
            return None
        if job.workflow_yaml is not None or not caller.sees(job.tenant_id):
            self._decline(delivery, tag, worker_id)
            return None
        try:
            lease, is_first_look = self._lease(job, delivery), delivery.num_delivered == 1
            claim = self._claims(worker_id).claim(job, delivery, time.time(), lease=lease, is_first_look=is_first_look)
        except SnapshotTooLarge as exc:
            finish.give_up(job.run_id, delivery, deadletters.EXECUTION_ERROR, str(exc))
            return None
        if claim.verdict is Verdict.EXECUTE:
            return claim.stored
        if claim.verdict is Verdict.WAIT:
            self._queue.deliveries.nak(delivery, self._config.ack_progress_interval_sec + BEHIND_TICK_SEC)
        else:
            finish.drop(claim.stored, delivery)
        return None

    def _decline(self, delivery: Delivery, tag: str, worker_id: str) -> None:
        """Hand a job back that others can do."""
        if not self._queue.is_last(delivery):
            self._away.note(tag)
        hand_back_unused(self._queue, self._claims(worker_id), delivery, _HAND_BACK_SEC)

    def _lease(self, job: Job, delivery: Delivery) -> PollLease:
        now, limit_sec = self._runs.server_time(), self._config.time_limit_sec(job.timeout_sec)
        return PollLease(now + self._config.poll_lease_sec, delivery.reply, now + limit_sec if limit_sec else None)

    def _claims(self, worker_id: str) -> Claims:
        return Claims(
            self._runs,
            self._holders,
            worker_id=worker_id,
            # One for each claim: the worker does not say which of its lives asks.
            instance_id=f"poll-{uuid.uuid4()}",
            is_active=lambda run_id: False,
        )
