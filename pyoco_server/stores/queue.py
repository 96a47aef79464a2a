"""The work queue: jobs go in with their message id, and come out one by one.

Source: contract, section 2; design, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pyoco_server.bridge.client import Bus, unix_seconds
from pyoco_server.bridge.deliveries import Deliveries
from pyoco_server.bridge.hints import Hints
from pyoco_server.bridge.messages import Delivery, Waiting, Write
from pyoco_server.bridge.resources import ensure_consumer
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.jobs import Job
from pyoco_server.errors import InvalidJob, KeyMissing


@dataclass(frozen=True)
class QueueMemory:
    """How long the work stream recognises a job that it has had.

    :param created: names this life of the stream; a stream that was deleted or restored has another one.
    :param window_sec: for how long it knows a message id.
    :param server_time: the time by the server's clock, unix seconds.
    """

    created: str
    window_sec: float
    server_time: float


class Queue:
    """One work stream with one durable consumer a tag."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self._bus = bus
        self._config = config
        #: Leases and acknowledgements of the jobs that were fetched.
        self.deliveries = Deliveries(bus)

    def publication(self, job: Job) -> Write:
        """Give the write that queues a job; the same job twice is one job (contract 2)."""
        subject = names.work_subject(self._config.work_subject_prefix, job.tag)
        return Write(subject, job.to_bytes(), msg_id=job.run_id)

    def publish(self, job: Job) -> None:
        """Queue a job.

        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        self._bus.write(self.publication(job))

    def ensure(self, tag: str) -> None:
        """Create the consumer of a tag where it is missing."""
        ensure_consumer(self._bus, self._config, tag)

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

    def run_ids(self) -> Iterator[str]:
        """Read the run ids of all queued jobs, one request each: for the check at a gateway's start.

        :raises BusUnavailable: no answer.
        """
        seq = 1
        while True:
            try:
                stored = self._bus.following(names.WORK_STREAM, f"{self._config.work_subject_prefix}.>", seq)
            except KeyMissing:
                return
            seq = stored.seq + 1
            try:
                yield Job.from_bytes(stored.payload).run_id
            except InvalidJob:
                continue
