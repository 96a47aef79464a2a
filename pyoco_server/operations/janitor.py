"""Ending the runs whose jobs the queue will not hand out any more: they were delivered too often, without an end.

Two things tell of such a job. The queue says so once, and a stream keeps that. And where that was lost, it adds up:
what lies under a tag is neither waiting for its first delivery nor in anybody's hands.

Source: design, section 5; nats-facts, D.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from pyoco_server.bridge.messages import Delivery
from pyoco_server.contract import deadletters
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import InvalidJob, RunNotFound, SnapshotTooLarge
from pyoco_server.logs import LogId, RateLimit
from pyoco_server.operations.holder import Holders
from pyoco_server.operations.invalid_jobs import report_invalid
from pyoco_server.states import RunStatus
from pyoco_server.stores.advisories import AdvisoryStore
from pyoco_server.stores.deadletters import DeadLetterStore
from pyoco_server.stores.queue import Queue, TagCount
from pyoco_server.stores.runs import RunStore, StoredRun

logger = logging.getLogger(__name__)

#: Words of the queue that are followed in one turn.
_WORDS_AT_A_TIME = 200
#: So long a job must look abandoned, at every look: one that is acknowledged between the two questions counts as lost,
#: and a worker that fetches wheels or starts a runner has a job in hand whose run is not claimed yet.
_ABANDONED_SEC = 60.0


class Janitor:
    """Cleans the queue; several gateways need no agreement, because the compare-and-set of the run decides."""

    def __init__(
        self,
        queue: Queue,
        runs: RunStore,
        holders: Holders,
        advisories: AdvisoryStore,
        dead_letters: DeadLetterStore,
    ) -> None:
        self._queue = queue
        self._runs = runs
        self._holders = holders
        self._advisories = advisories
        self._dead_letters = dead_letters
        #: Jobs that nobody seemed to hold at the last look, by subject, and since when; ``time.monotonic()``.
        self._suspects: dict[str, Mapping[int, float]] = {}
        self._log_limit = RateLimit()

    def clean(self) -> int:
        """Take such jobs out of the queue, and end their runs; to be called every few seconds.

        :return: how many were taken out.
        :raises BusUnavailable: no answer; the next call goes on.
        """
        return self._follow_words() + self._add_up()

    def _follow_words(self) -> int:
        count = 0
        for word in self._advisories.read(_WORDS_AT_A_TIME):
            if self._end(word.job_seq, word.delivery_count):
                self._advisories.remove(word)
                count += 1
        return count

    def _add_up(self) -> int:
        """Find jobs of which no word has come: those that nobody seems to hold for long, if they are not more than must
        be lost. Where they are more, some of them are just on their way, and the next look tells."""
        suspects: dict[str, Mapping[int, float]] = {}
        count = 0
        now = time.monotonic()
        for tag in self._queue.tag_counts():
            if tag.lost_count <= 0:
                continue
            known = self._suspects.get(tag.subject, {})
            found = self._unheld(tag)
            suspects[tag.subject] = {seq: known.get(seq, now) for seq in found}
            confirmed = {seq for seq in found & known.keys() if now - known[seq] >= _ABANDONED_SEC}
            if len(confirmed) <= tag.lost_count:
                count += sum([self._end(seq, tag.max_deliver) for seq in sorted(confirmed)])
        self._suspects = suspects
        return count

    def _unheld(self, tag: TagCount) -> set[int]:
        """Give the jobs of a tag that were delivered and that nobody executes."""
        found = set()
        job = self._queue.next_job(1, tag.subject)
        while job is not None and job.seq <= tag.delivered_seq:
            try:
                if job.run_id is None or not self._is_held(self._runs.get(job.run_id)):
                    found.add(job.seq)
            except RunNotFound:
                found.add(job.seq)
            job = self._queue.next_job(job.seq + 1, tag.subject)
        return found

    def _is_held(self, stored: StoredRun) -> bool:
        is_begun = stored.snapshot.status in (RunStatus.RUNNING, RunStatus.CANCELLING)
        return is_begun and not self._holders.is_gone(stored)

    def _end(self, job_seq: int, delivery_count: int) -> bool:
        """End a job and its run; say whether nothing is left to be done about it."""
        queued = self._queue.job_at(job_seq)
        if queued is None:
            return True
        try:
            job = Job.from_bytes(queued.payload)
        except InvalidJob as exc:
            lost = Delivery(queued.subject, queued.payload, job_seq, delivery_count, reply="")
            report_invalid(self._runs, self._dead_letters, lost, exc, worker_id=None)
        else:
            if not self._end_run(job, job_seq, delivery_count):
                return False
        self._queue.remove(job_seq)
        return True

    def _end_run(self, job: Job, job_seq: int, delivery_count: int) -> bool:
        """End the run of a job unless it is over; ``False`` = somebody executes it."""
        try:
            stored = self._runs.get(job.run_id)
        except RunNotFound:
            return True
        seen = stored.snapshot
        if seen.status.is_terminal:
            self._report(seen, job_seq)
            return True
        is_pending = seen.status is RunStatus.PENDING
        # A run that is tried again still has the number of the job by which it failed.
        if seen.has_spent(job_seq) if is_pending else seen.job_seq not in (None, job_seq):
            # It goes on with another job.
            return True
        if self._is_held(stored):
            # With a lease that it has lost; its acknowledgement will be taken all the same.
            return False
        error = f"{deadletters.MAX_DELIVERIES}: the job was delivered {delivery_count} times without an end."

        def intent(snapshot: Snapshot) -> Snapshot | None:
            if snapshot.status is not seen.status or not snapshot.is_of(seen):
                return None
            if snapshot.status is RunStatus.CANCELLING:
                return snapshot.ended(RunStatus.CANCELLED, error=None, now=time.time())
            return replace(snapshot.ended(RunStatus.FAILED, error=error, now=time.time()), job_seq=job_seq)

        try:
            ended = self._runs.end(stored, intent)
        except SnapshotTooLarge as exc:
            # Its operator has lowered the cap below what is never left out. The others must not wait for it.
            if self._log_limit.allows("too large"):
                logger.error("a run without deliveries cannot be ended: %s", exc, extra={"run_id": job.run_id})
            return False
        if ended is None:
            return False
        logger.error(
            "a job was delivered %d times without an end; its run is %s",
            delivery_count,
            ended.snapshot.status,
            extra={
                "run_id": job.run_id,
                "flow_name": job.flow_name,
                "tag": job.tag,
                "err_id": LogId.RUN_FAILED,
                "reason": deadletters.MAX_DELIVERIES,
            },
        )
        self._report(ended.snapshot, job_seq)
        return True

    def _report(self, snapshot: Snapshot, job_seq: int) -> None:
        """Publish the dead letter of a run that this job has failed, here or in the hands of a worker that could not;
        twice is once."""
        if snapshot.status is RunStatus.FAILED and snapshot.job_seq == job_seq:
            self._dead_letters.publish_failed(snapshot, deadletters.reason_of(snapshot.error))
