"""A look at a whole installation: servers, streams, consumers, jobs that are stuck, workers and clocks.

Source: design, section 9.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.overview import (
    ConsumerFacts,
    ServerFacts,
    StreamFacts,
    list_consumers,
    list_streams,
    server_facts,
)
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.errors import ResourceMissing
from pyoco_server.operations.attention import WorkerView, worker_views
from pyoco_server.operations.monitoring import NodeFacts, read_node
from pyoco_server.operations.polled_tags import polled_tags
from pyoco_server.ports import answers_at
from pyoco_server.sign_in import addresses
from pyoco_server.stores.queue import Queue, TagCount
from pyoco_server.stores.storage import Storage, nearly_full_of
from pyoco_server.stores.workers import WorkerStore

#: Between two looks at what may be different in a moment, and how many there are at most.
_LOOK_PAUSE_SEC = 0.5
_LOOKS = 4
#: Where a nats-server tells of itself when nobody says where (``pyoco-nats up``, ``nats-bootstrap up``).
MONITOR_PORT = 8222


@dataclass(frozen=True)
class WorkerSight:
    """A worker with what its record tells of its clock.

    :param silent_sec: how long ago its record was stored, by the clock of NATS alone.
    :param clock_ahead_sec: how far its clock is ahead of that of NATS; ``None`` where it cannot be told.
    """

    view: WorkerView
    silent_sec: float
    clock_ahead_sec: float | None


@dataclass(frozen=True)
class Survey:
    """What was seen.

    :param silent_urls: addresses of ``PYOCO_NATS_URL`` at which no server greets.
    :param silent_monitors: monitoring ports that were named and tell nothing.
    :param nodes: the servers whose monitoring port was found.
    :param silent_streams: streams of which no server tells more than their names.
    :param job_counts: jobs in the queue by tag, those in work with them.
    :param polled_tags: tags that workers serve which ask over HTTP, of those that nobody else serves.
    :param lost_jobs: tags with jobs that nobody holds and that will not be handed out again.
    :param full: what is near its limit.
    :param clock_ahead_sec: how far the clock of this machine is ahead of that of NATS; ``None`` without a stream.
    """

    server: ServerFacts
    silent_urls: list[str]
    silent_monitors: list[str]
    nodes: list[NodeFacts]
    streams: list[StreamFacts]
    silent_streams: list[str]
    consumers: list[ConsumerFacts]
    workers: list[WorkerSight]
    job_counts: dict[str, int]
    polled_tags: set[str]
    lost_jobs: list[TagCount]
    full: list[Storage]
    clock_ahead_sec: float | None

    @property
    def node_count(self) -> int | None:
        """How many servers keep this NATS together; ``None`` where none was found that tells.

        A server greets with the addresses of the others, of which each may have several, and not with their number.
        """
        if self.server.cluster is None:
            return 1
        told = [node.cluster_size for node in self.nodes if node.cluster == self.server.cluster]
        return max(told, default=None)

    @property
    def served_tags(self) -> set[str]:
        """The tags that somebody serves."""
        return self.polled_tags | _registered_tags(self.workers)

    def stream(self, name: str) -> StreamFacts | None:
        """Give a stream; ``None`` when there is none of this name."""
        return next((stream for stream in self.streams if stream.name == name), None)


def look(
    bus: Bus, config: Config, monitors: Sequence[str] | None = None, *, clock: Callable[[], float] = time.time
) -> Survey:
    """Look at everything, and change nothing.

    :param monitors: monitoring ports, ``http://host:8222``; ``None`` = the usual one of each host is tried.
    :param clock: gives unix seconds by the clock of this machine.
    :raises BusError: JetStream refuses, as without a majority of its servers.
    :raises BusUnavailable: no answer.
    """
    server = server_facts(bus)
    streams, silent = _settled_streams(bus)
    is_queue_there = any(stream.name == names.WORK_STREAM for stream in streams)
    urls = [address.url for address in addresses(config.nats_url)]
    nodes, silent_monitors = _nodes(server, urls, monitors)
    clock_ahead_sec = _clock_ahead(bus, streams[0].name, clock) if streams else None
    server_now = clock() - (clock_ahead_sec or 0.0)
    consumers = list_consumers(bus, names.WORK_STREAM) if is_queue_there else []
    workers = _workers(bus, config, server_now)
    return Survey(
        server=server,
        silent_urls=[url for url in urls if not answers_at(url)],
        silent_monitors=silent_monitors,
        nodes=nodes,
        streams=streams,
        silent_streams=silent,
        consumers=consumers,
        workers=workers,
        job_counts=Queue(bus, config).job_counts() if is_queue_there else {},
        polled_tags=polled_tags(bus, config, consumers, _registered_tags(workers), server_now),
        lost_jobs=_lost_jobs(Queue(bus, config)) if is_queue_there else [],
        full=nearly_full_of(bus.api("INFO"), streams, config),
        clock_ahead_sec=clock_ahead_sec,
    )


def _settled_streams(bus: Bus) -> tuple[list[StreamFacts], list[str]]:
    """Ask for all streams, again where something moves: a copy is behind for a moment, or a leader is being elected."""
    for _ in range(_LOOKS):
        streams, silent = list_streams(bus)
        if not silent and all(replica.is_current for stream in streams for replica in stream.replicas):
            break
        time.sleep(_LOOK_PAUSE_SEC)
    return streams, silent


def _nodes(
    server: ServerFacts, urls: Sequence[str], monitors: Sequence[str] | None
) -> tuple[list[NodeFacts], list[str]]:
    """Ask the monitoring ports; of those that nobody named only such count that are of this very NATS.

    :return: what was told, and those that were named and tell nothing.
    """
    if monitors is not None:
        told = {url: read_node(url) for url in monitors}
        return [node for node in told.values() if node is not None], [url for url, node in told.items() if node is None]
    hosts = dict.fromkeys(urlsplit(url).hostname or "" for url in urls)
    found = [read_node(f"http://{f'[{host}]' if ':' in host else host}:{MONITOR_PORT}") for host in hosts]
    return [node for node in found if node is not None and _is_of(node, server)], []


def _is_of(node: NodeFacts, server: ServerFacts) -> bool:
    return node.server_id == server.server_id or (server.cluster is not None and node.cluster == server.cluster)


def _workers(bus: Bus, config: Config, server_now: float) -> list[WorkerSight]:
    try:
        found = {entry.record.worker_id: entry for entry in WorkerStore(bus, config).all()}
    except ResourceMissing:
        return []
    # By no clock of a machine that only looks: whether a worker lives is not for that to say.
    views = worker_views(
        [entry.record for entry in found.values()], now=server_now, timeout_sec=config.worker_disconnect_timeout_sec
    )
    entries = [(view, found[view.record.worker_id]) for view in views]
    return [
        WorkerSight(view, server_now - entry.stored_at, _ahead_by(entry.record, entry.stored_at))
        for view, entry in entries
    ]


def _registered_tags(workers: Sequence[WorkerSight]) -> set[str]:
    return {tag for sight in workers if sight.view.is_alive for tag in sight.view.tags}


def _ahead_by(record: WorkerRecord, stored_at: float) -> float | None:
    """Compare the time that a worker wrote with the time at which the server stored it."""
    ahead_sec = record.last_seen_at - stored_at
    # Others write a worker's record, too, and leave the worker's own time in it.
    is_own_write = record.updated_at == record.last_seen_at and not (record.lost_at or record.drain_requested_at)
    return ahead_sec if ahead_sec > 0 or is_own_write else None


def _lost_jobs(queue: Queue) -> list[TagCount]:
    """Count jobs that nobody holds, twice if need be: the counts of one look are not of one moment."""
    first = {tag.subject: tag for tag in queue.tag_counts() if tag.lost_count > 0}
    if not first:
        return []
    time.sleep(_LOOK_PAUSE_SEC)
    return [tag for tag in queue.tag_counts() if tag.lost_count > 0 and tag.subject in first]


def _clock_ahead(bus: Bus, stream: str, clock: Callable[[], float]) -> float:
    began = clock()
    told = bus.server_time(stream)
    return (began + clock()) / 2 - told
