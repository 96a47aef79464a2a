"""Claiming a delivered job: who may execute the run, and who must not.

The queue hands a job out again when its holder is silent, and it does not fence the holder's acknowledgement; the
snapshot's revision does. A claim is a compare-and-set of the snapshot to RUNNING.

Source: design, section 5.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pyoco_server.bridge.messages import Delivery, stored_at
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.leases import PollLease
from pyoco_server.contract.told_snapshots import told_snapshot
from pyoco_server.errors import InvalidJob, RevisionConflict, RunNotFound
from pyoco_server.operations.holder import Holders
from pyoco_server.states import RunStatus
from pyoco_server.stores.runs import RunStore, StoredRun

logger = logging.getLogger(__name__)

#: How much longer than its holder's next tick a job waits whose holder is alive. The tick makes the lease anew, and
#: the job stays away for as long as its holder lives; without it a long run would use up its deliveries.
BEHIND_TICK_SEC = 1.0


class Verdict(Enum):
    """What is to be done with a delivery."""

    EXECUTE = "execute"  #: the run is ours
    DROP = "drop"  #: acknowledge: the run is over, was never accepted, or has another job
    WAIT = "wait"  #: hand back for a while: its holder is alive, or nobody can be sure yet that there is no run
    CANCELLED = "cancelled"  #: acknowledge: somebody cancelled it before it began


@dataclass(frozen=True)
class Claim:
    """The verdict, with the run as it stands now where there is one."""

    verdict: Verdict
    stored: StoredRun | None = None


class Claims:
    """Decides about deliveries, for one life of one worker.

    :param is_active: says whether this worker is executing a run at the moment.
    """

    def __init__(
        self,
        runs: RunStore,
        holders: Holders,
        *,
        worker_id: str,
        instance_id: str,
        is_active: Callable[[str], bool],
    ) -> None:
        self._runs = runs
        self._worker_id = worker_id
        self._instance_id = instance_id
        self._holders = holders
        self._is_active = is_active

    def claim(
        self,
        job: Job,
        delivery: Delivery,
        now: float,
        wheels: list[dict[str, str]] | None = None,
        lease: PollLease | None = None,
        *,
        is_first_look: bool = False,
    ) -> Claim:
        """Try to take the run of a delivered job.

        :param wheels: what the run would import from.
        :param lease: for a worker that asks over HTTP.
        :param is_first_look: whether nobody has looked for the run before. Then what its job tells of it is tried
            first, which the compare-and-set proves; and one that is not there is waited for: in a cluster, the new
            leader of the bucket may not have got as far as its last writes.
        :raises BusUnavailable: no answer; nothing is decided.
        """
        told = _told(job, delivery) if is_first_look else None
        while True:
            try:
                stored = told or self._runs.get(job.run_id)
            except RunNotFound:
                if is_first_look:
                    return Claim(Verdict.WAIT)
                # The gateway withdrew it, and its job was stored all the same: nobody was promised this run.
                logger.warning("dropped a job without a run", extra={"run_id": job.run_id, "tag": job.tag})
                return Claim(Verdict.DROP)
            verdict = self._judge(stored, delivery)
            if verdict is Verdict.EXECUTE:
                claimed = stored.snapshot.claimed(
                    worker_id=self._worker_id,
                    instance_id=self._instance_id,
                    job_seq=delivery.seq,
                    now=now,
                    wheels=wheels,
                    lease=lease,
                )
            elif verdict is Verdict.CANCELLED:
                claimed = stored.snapshot.ended(RunStatus.CANCELLED, error=None, now=now)
            else:
                return Claim(verdict, stored)
            try:
                revision = self._runs.update(claimed, stored.revision)
            except RevisionConflict:
                told = None
                continue
            return Claim(verdict, StoredRun(claimed, revision, stored.stored_at))

    def is_wanted(self, delivery: Delivery) -> bool:
        """Say whether whoever is given this job would have something to do, and nobody does it.

        :raises BusUnavailable: no answer; nothing is known.
        """
        try:
            stored = self._runs.get(Job.from_bytes(delivery.payload).run_id)
        except (InvalidJob, RunNotFound):
            # To be reported, or to be looked for once more.
            return True
        return self._judge(stored, delivery) in (Verdict.EXECUTE, Verdict.CANCELLED)

    def _judge(self, stored: StoredRun, delivery: Delivery) -> Verdict:
        snapshot = stored.snapshot
        if snapshot.status.is_terminal:
            return Verdict.DROP
        if snapshot.status is RunStatus.PENDING:
            # The job of an attempt that has failed, come once more: the next attempt has a job of its own.
            return Verdict.DROP if snapshot.has_spent(delivery.seq) else Verdict.EXECUTE
        is_cancelling = snapshot.status is RunStatus.CANCELLING
        if self._is_holder_gone(stored):
            return Verdict.CANCELLED if is_cancelling else Verdict.EXECUTE
        if snapshot.job_seq is not None and snapshot.job_seq != delivery.seq:
            return Verdict.DROP
        return Verdict.WAIT

    def _is_holder_gone(self, stored: StoredRun) -> bool:
        """Say whether nobody executes the run any more."""
        if stored.snapshot.instance_id == self._instance_id:
            return not self._is_active(stored.snapshot.run_id)
        return self._holders.is_gone(stored)


def _told(job: Job, delivery: Delivery) -> StoredRun | None:
    """Give the run as it was stored just before its job, where the job tells of it."""
    snapshot, revision = told_snapshot(job, delivery.told) or (None, 0)
    if snapshot is None or snapshot.status is not RunStatus.PENDING or snapshot.has_spent(delivery.seq):
        # Of a job that any other program has made up. A claim proves the revision; for the rest whoever may write the
        # queue is believed, as he is for the job.
        return None
    return StoredRun(snapshot, revision, stored_at(delivery.reply))
