"""Which tags are served by workers that ask over HTTP: these have no record in the worker registry.

Source: contract, section 3, "pyoco's own client and worker".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.overview import ConsumerFacts
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.jobs import Job
from pyoco_server.errors import InvalidJob, ResourceMissing
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore

#: So many jobs of a tag are looked at, those that are held and those that wait.
_MAX_JOBS = 100


def polled_tags(
    bus: Bus, config: Config, consumers: Sequence[ConsumerFacts], registered: Collection[str], server_now: float
) -> set[str]:
    """Give the tags with waiting jobs that such workers serve, as far as their runs show it.

    One of a tag's runs is in their hands, and one waits that they may be given: runs with a flow.yaml they are not.

    :param registered: tags that other workers serve; these are not looked at.
    :param server_now: unix seconds by the clock of NATS.
    :raises BusUnavailable: no answer.
    """
    queue, runs = Queue(bus, config), RunStore(bus, config)
    found = set()
    for consumer in consumers:
        tag = names.tag_of(consumer.name)
        if tag in registered or not (consumer.waiting_count and consumer.in_work_count):
            continue
        held: list[Job] = []
        waiting: list[Job] = []
        for seq, job in _jobs(queue, consumer.settings["filter_subject"]):
            (held if seq <= consumer.delivered_seq else waiting).append(job)
        if all(job.workflow_yaml is not None for job in waiting):
            continue
        try:
            snapshots = [stored.snapshot for stored in runs.get_all([job.run_id for job in held])]
        except ResourceMissing:
            return set()
        if any((snapshot.lease_until or 0.0) > server_now for snapshot in snapshots):
            found.add(tag)
    return found


def _jobs(queue: Queue, subject: str) -> Iterator[tuple[int, Job]]:
    for stored in islice(queue.stored_jobs(subject), _MAX_JOBS):
        try:
            yield stored.seq, Job.from_bytes(stored.payload)
        except InvalidJob:
            continue
