"""The work queue: jobs go in with their message id, and come out one by one.

Source: contract, section 2; design, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pyoco_server.bridge.answers import unix_seconds
from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.deliveries import Deliveries
from pyoco_server.bridge.hints import Hints
from pyoco_server.bridge.messages import Delivery, Stored, Waiting, Write
from pyoco_server.bridge.overview import list_consumers
from pyoco_server.bridge.resources import ensure_consumer
from pyoco_server.bridge.streams import counted_subjects, remove_message
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot
from pyoco_server.contract.told_snapshots import REVISION_HEADER, told_with
from pyoco_server.errors import InvalidJob, KeyMissing


@dataclass(frozen=True)
class QueueMemory:
    """How long the work stream recognises a job that it has had.

    :param created: names this life of the stream; a stream that was deleted has another one, a restored one need not.
    :param window_sec: for how long it knows a message id.
    :param server_time: the time by the server's clock, unix seconds.
    """

    created: str
    window_sec: float
    server_time: float


@dataclass(frozen=True)
class QueuedJob:
    """A job as it lies in the queue.

    :param seq: its sequence, which no other job ever has.
    :param run_id: ``None`` where it cannot be read.
    :param queued_at: unix seconds by the server's clock.
    """

    seq: int
    run_id: str | None
    queued_at: float


@dataclass(frozen=True)
class TagCount:
    """The jobs of one tag, by what its consumer knows of them.

    :param subject: the work subject of the tag.
    :param delivered_seq: the highest sequence that was handed out.
    :param max_deliver: how often a job is handed out at most.
    :param lost_count: jobs that lie there and will not be handed out (again), and that nobody holds. The counts are
        not of one moment, so one look alone proves nothing.
    """

    subject: str
    delivered_seq: int
    max_deliver: int
    lost_count: int


class Queue:
    """One work stream with one durable consumer a tag."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self._bus = bus
        self._config = config
        #: Leases and acknowledgements of the jobs that were fetched.
        self.deliveries = Deliveries(bus)

    def publication(self, job: Job, attempt: int = 0) -> Write:
        """Give the write that queues a job; the same job for the same attempt twice is one job (contract 2).

        :param attempt: attempts that the run has had already.
        """
        subject = names.work_subject(self._config.work_subject_prefix, job.tag)
        return Write(subject, job.to_bytes(), msg_id=names.job_id(job.run_id, attempt))

    def first_publication(self, job: Job, snapshot: Snapshot) -> Write:
        """Give the write that queues the job of a run whose snapshot is stored by the write before it."""
        told = told_with(job, snapshot)
        return replace(self.publication(job), told=told, previous_header=REVISION_HEADER if told else None)

    def publish(self, job: Job, attempt: int = 0) -> None:
        """Queue a job; see :meth:`publication`.

        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        self._bus.write(self.publication(job, attempt))

    def ensure(self, tag: str) -> None:
        """Create the consumer of a tag where it is missing."""
        ensure_consumer(self._bus, self._config, tag)

    def is_last(self, delivery: Delivery) -> bool:
        """Say whether the queue will not hand the job out again: handed back it would be lost to all workers."""
        return delivery.num_delivered >= self._config.consumer_max_deliver

    def queue_anew(self, delivery: Delivery) -> None:
        """Put a copy of a delivered job into the queue, with all its deliveries before it, and end the delivered one.

        The copy is another job for the server, and the claim sees to it that only one of them is executed.

        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        copy_id = f"{names.WORK_STREAM}.{delivery.seq}"
        self._bus.write(Write(delivery.subject, delivery.payload, msg_id=copy_id))
        self.deliveries.ack(delivery)

    def leased(self, snapshot: Snapshot) -> Delivery:
        """Give the delivery by which a run is held that was handed out over HTTP, as far as settling it takes."""
        subject = names.work_subject(self._config.work_subject_prefix, snapshot.tag)
        return Delivery(subject, b"", snapshot.job_seq or 0, 0, snapshot.lease_reply or "")

    def pull(self, tag: str, *, wait_sec: float) -> Delivery | None:
        """Take at most one job of this tag; the caller owns its lease. See :meth:`Deliveries.pull`."""
        return self.deliveries.pull(names.WORK_STREAM, names.durable(tag), wait_sec=wait_sec)

    def waiting(self, tags: Sequence[str]) -> dict[str, Waiting]:
        """Look up what waits under each tag; see :meth:`Deliveries.waiting`."""
        found = self.deliveries.waiting(names.WORK_STREAM, [names.durable(tag) for tag in tags])
        return dict(zip(tags, found, strict=True))

    def hints(self, tags: Sequence[str], hear: Callable[[str], bool]) -> Hints:
        """Make the membership in the group of idle workers, to hear of new jobs of these tags."""
        subjects = {tag: names.work_subject(self._config.work_subject_prefix, tag) for tag in tags}
        return Hints(self._bus, subjects, hear)

    def memory(self) -> QueueMemory:
        """Ask how long the stream recognises a job: its operator may have set another time than we would.

        :raises ResourceMissing: there is no work stream.
        :raises BusUnavailable: no answer.
        """
        info = self._bus.api(f"STREAM.INFO.{names.WORK_STREAM}")
        window_sec = info["config"].get("duplicate_window", 0) / 1e9
        return QueueMemory(info["created"], window_sec, unix_seconds(info["ts"]))

    def jobs(self) -> Iterator[QueuedJob]:
        """Read all queued jobs, one request each: for when only the queue itself can tell.

        :raises BusUnavailable: no answer.
        """
        job = self.next_job(1)
        while job is not None:
            yield job
            job = self.next_job(job.seq + 1)

    def next_job(self, seq: int, subject: str | None = None) -> QueuedJob | None:
        """Look at the first job from this sequence on; ``None`` when there is none.

        :param subject: of this tag only.
        :raises BusUnavailable: no answer.
        """
        return self._look(lambda: self._bus.following(names.WORK_STREAM, subject or self._subjects, seq))

    def stored_jobs(self, subject: str) -> Iterator[Stored]:
        """Read the queued jobs of one tag as they are stored, oldest first, one request each.

        :raises BusUnavailable: no answer.
        """
        seq = 1
        while True:
            try:
                stored = self._bus.following(names.WORK_STREAM, subject, seq)
            except KeyMissing:
                return
            yield stored
            seq = stored.seq + 1

    def job_at(self, seq: int) -> Stored | None:
        """Read the job of this sequence; ``None`` when it is gone.

        :raises BusUnavailable: no answer.
        """
        try:
            stored = self._bus.following(names.WORK_STREAM, self._subjects, seq)
        except KeyMissing:
            return None
        return stored if stored.seq == seq else None

    def tag_counts(self) -> list[TagCount]:
        """Count the jobs of each tag that has a consumer.

        :raises BusUnavailable: no answer.
        """
        info = self._bus.api(f"STREAM.INFO.{names.WORK_STREAM}", {"subjects_filter": self._subjects})
        job_counts = info["state"].get("subjects") or {}
        found = []
        for consumer in list_consumers(self._bus, names.WORK_STREAM):
            subject = consumer.settings.get("filter_subject", "")
            lost_count = int(job_counts.get(subject, 0)) - consumer.waiting_count - consumer.in_work_count
            found.append(TagCount(subject, consumer.delivered_seq, consumer.settings["max_deliver"], lost_count))
        return found

    def job_counts(self) -> dict[str, int]:
        """Count the queued jobs of each tag, also of one that has no consumer.

        :raises BusUnavailable: no answer.
        """
        prefix = self._subjects.removesuffix(">")
        counted = counted_subjects(self._bus, names.WORK_STREAM, self._subjects)
        return {subject.removeprefix(prefix): count for subject, count in counted}

    def first_job_since(self, moment: float) -> QueuedJob | None:
        """Look at the first job that was queued at this moment or later, unix seconds by the server's clock.

        :raises BusUnavailable: no answer.
        """
        return self._look(lambda: self._bus.first_since(names.WORK_STREAM, self._subjects, moment))

    def remove(self, seq: int) -> None:
        """Take a job out of the queue, whoever holds it; one that is gone already is no error.

        :raises BusUnavailable: no answer; safe to repeat.
        """
        remove_message(self._bus, names.WORK_STREAM, seq)

    @property
    def _subjects(self) -> str:
        return f"{self._config.work_subject_prefix}.>"

    def _look(self, read: Callable[[], Stored]) -> QueuedJob | None:
        try:
            stored = read()
        except KeyMissing:
            return None
        try:
            return QueuedJob(stored.seq, Job.from_bytes(stored.payload).run_id, stored.stored_at)
        except InvalidJob:
            return QueuedJob(stored.seq, None, stored.stored_at)
