"""What a server tells of itself, its account, its streams and their consumers.

Settings are kept as the server gives them, in its own words and units (nanoseconds, -1 for "no limit").

Source: JetStream API, ``INFO``, ``STREAM.LIST`` and ``CONSUMER.LIST``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.answers import unix_seconds
from pyoco_server.bridge.client import Bus
from pyoco_server.service import Deadline

_NANOSECONDS = 1_000_000_000
#: For a list a cluster waits four seconds for those of its servers that do not answer.
_LIST_SEC = 6.0
_LOOK_SEC = 0.2


@dataclass(frozen=True)
class ServerFacts:
    """The server that a connection leads to.

    :param cluster: name of its cluster; ``None`` where it is alone.
    """

    server_id: str
    name: str
    version: str
    cluster: str | None
    has_jetstream: bool


@dataclass(frozen=True)
class Replica:
    """A copy of a stream beside that of its leader.

    :param is_current: whether it has all that the leader has.
    :param is_offline: whether its server is not there.
    :param silent_sec: how long ago the leader heard of it.
    :param lag_count: operations that it has still to take over.
    """

    name: str
    is_current: bool
    is_offline: bool
    silent_sec: float
    lag_count: int


@dataclass(frozen=True)
class StreamFacts:
    """A stream, be it that of a bucket or not.

    :param leader: the server that leads it; ``None`` where it has none.
    :param replicas: its other copies.
    :param is_moving: whether copies are being made or given up; until that is over it may not outlive its leader.
    :param oldest_sec: how old its oldest message is, by the clock of its leader; 0 = it has none.
    """

    name: str
    settings: dict[str, Any]
    message_count: int
    byte_count: int
    consumer_count: int
    leader: str | None
    replicas: tuple[Replica, ...]
    is_moving: bool
    oldest_sec: float

    @property
    def replica_count(self) -> int:
        """How many copies there are to be, the leader's own with them."""
        return int(self.settings["num_replicas"])


@dataclass(frozen=True)
class ConsumerFacts:
    """A consumer of a stream.

    :param waiting_count: messages that it has not handed out yet.
    :param in_work_count: messages that were handed out and have not been ended.
    :param pull_count: requests for messages that wait to be answered: somebody reads.
    :param delivered_seq: the highest sequence that was handed out.
    :param idle_sec: since when it has handed out nothing, as far as its server remembers: one that was started anew
        remembers nothing of before, and tells how long ago the consumer was made.
    """

    name: str
    stream: str
    settings: dict[str, Any]
    waiting_count: int
    in_work_count: int
    redelivered_count: int
    pull_count: int
    delivered_seq: int
    idle_sec: float

    @property
    def ack_wait_sec(self) -> float:
        return float(self.settings.get("ack_wait", 0) / _NANOSECONDS)


def server_facts(bus: Bus) -> ServerFacts:
    """Give what the connected server said when it was connected to."""
    said = bus.server_info
    return ServerFacts(
        server_id=said.get("server_id", ""),
        name=said.get("server_name", ""),
        version=said.get("version", ""),
        cluster=said.get("cluster") or None,
        has_jetstream=bool(said.get("jetstream")),
    )


def list_streams(bus: Bus) -> tuple[list[StreamFacts], list[str]]:
    """Ask for all streams, sorted by name.

    :return: the streams, and the names of those of which no server could tell more than that.
    :raises BusUnavailable: no answer.
    """
    missing: list[str] = []

    def read(page: dict[str, Any]) -> list[Any]:
        missing.extend(page.get("missing") or ())
        return page.get("streams") or []

    found = [_stream(info) for info in _pages(bus, "STREAM.LIST", read)]
    return sorted(found, key=lambda stream: stream.name), sorted(missing)


def await_stream(bus: Bus, name: str, is_over: Callable[[StreamFacts], bool], deadline: Deadline) -> StreamFacts | None:
    """Wait until a stream has a leader and is as it should be; ``None`` when it is not in time.

    :raises BusUnavailable: no answer.
    """
    while True:
        # While a leader is elected nobody tells of it.
        found = next((stream for stream in list_streams(bus)[0] if stream.name == name), None)
        if found is not None and found.leader is not None and is_over(found):
            return found
        if deadline.has_passed:
            return None
        time.sleep(_LOOK_SEC)


def list_consumers(bus: Bus, stream: str) -> list[ConsumerFacts]:
    """Ask for the consumers of a stream, sorted by name.

    :raises ResourceMissing: there is no such stream.
    :raises BusUnavailable: no answer.
    """
    found = [
        ConsumerFacts(
            name=info["name"],
            stream=stream,
            settings=info["config"],
            waiting_count=int(info["num_pending"]),
            in_work_count=int(info["num_ack_pending"]),
            redelivered_count=int(info["num_redelivered"]),
            pull_count=int(info.get("num_waiting", 0)),
            delivered_seq=int(info["delivered"]["stream_seq"]),
            idle_sec=_idle_sec(info),
        )
        for info in _pages(bus, f"CONSUMER.LIST.{stream}", lambda page: page.get("consumers") or [])
    ]
    return sorted(found, key=lambda consumer: consumer.name)


def _idle_sec(info: dict[str, Any]) -> float:
    told = [info["created"], info["delivered"].get("last_active"), info["ack_floor"].get("last_active")]
    return unix_seconds(info["ts"]) - max(unix_seconds(moment) for moment in told if moment)


def _pages(bus: Bus, endpoint: str, read: Callable[[dict[str, Any]], list[Any]]) -> Iterator[Any]:
    offset, total = 0, 1
    while offset < total:
        page = bus.api(endpoint, {"offset": offset}, try_sec=_LIST_SEC)
        entries = read(page)
        yield from entries
        # A stream that no server tells of is counted, too.
        offset, total = offset + max(1, len(entries) + len(page.get("missing") or ())), int(page["total"])


def _stream(info: dict[str, Any]) -> StreamFacts:
    cluster = info.get("cluster") or {}
    state = info["state"]
    return StreamFacts(
        name=info["config"]["name"],
        settings=info["config"],
        message_count=int(state["messages"]),
        byte_count=int(state["bytes"]),
        consumer_count=int(state["consumer_count"]),
        leader=cluster.get("leader") or None,
        replicas=tuple(
            Replica(
                name=str(peer["name"]),
                is_current=bool(peer.get("current")),
                is_offline=bool(peer.get("offline")),
                silent_sec=peer.get("active", 0) / _NANOSECONDS,
                lag_count=int(peer.get("lag", 0)),
            )
            for peer in cluster.get("replicas") or ()
        ),
        is_moving="desired" in cluster,
        oldest_sec=unix_seconds(info["ts"]) - unix_seconds(state["first_ts"]) if state["messages"] else 0.0,
    )
