"""Taking a server out of a cluster, with nothing lost that it holds.

Source: design, section 9.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.cluster import members, move_stream, remove_server, yield_leadership
from pyoco_server.bridge.overview import StreamFacts, list_streams
from pyoco_server.bridge.streams import change_stream
from pyoco_server.errors import BusUnavailable, InvalidCommand
from pyoco_server.service import Deadline

#: How long the copy of one stream, or an election, may take.
_MOVE_SEC = 1800.0
_ELECTION_SEC = 60.0
_LOOK_SEC = 0.2


def leave(bus: Bus, system: Bus, server: str, *, lowers: bool, report: Callable[[str], None]) -> list[str]:
    """Move what a server holds to others, one stream after the other, and remove it from the cluster.

    :param system: a connection of the system account.
    :param lowers: whether streams with more replicas than servers will be left get a single one.
    :param report: told of each stream that has moved.
    :return: the streams that were moved.
    :raises InvalidCommand: too few servers would be left, or one does not move; what has moved stays there.
    :raises BusUnavailable: no answer; safe to repeat.
    """
    others = members(system).present - {server}
    if not others:
        raise InvalidCommand(f"{server} is alone: there is nobody to whom it could give what it holds. Use down.")
    moved: list[str] = []
    # Again, because streams may have come meanwhile.
    while held := _held(bus, server):
        _move(bus, system, server, held, len(others), lowers=lowers, report=report)
        moved += [stream.name for stream in held]
    _hand_over(system, server)
    remove_server(system, server)
    return moved


def _held(bus: Bus, server: str) -> list[StreamFacts]:
    streams, silent = list_streams(bus)
    if silent:
        raise InvalidCommand(f"Nobody answers for {', '.join(silent)}: start the NATS servers that are away first.")
    return [stream for stream in streams if server in _holders(stream)]


def _move(
    bus: Bus,
    system: Bus,
    server: str,
    held: Sequence[StreamFacts],
    others_count: int,
    *,
    lowers: bool,
    report: Callable[[str], None],
) -> None:
    blocked = [stream.name for stream in held if stream.replica_count > others_count]
    if blocked and not lowers:
        raise InvalidCommand(
            f"{', '.join(blocked)} have more replicas than the {others_count} servers that would be left. Join another "
            "server first, or give --stop-anyway to have one replica alone kept."
        )
    for stream in held:
        if stream.name in blocked:
            change_stream(bus, stream.name, {"num_replicas": 1})
            stream = _await(bus, stream.name, lambda found: not found.is_moving and not found.replicas)
        if server in _holders(stream):
            move_stream(system, stream.name, server)
        _await(bus, stream.name, lambda found: not found.is_moving and server not in _holders(found))
        report(stream.name)


def _holders(stream: StreamFacts) -> set[str | None]:
    return {stream.leader, *(replica.name for replica in stream.replicas)}


def _await(bus: Bus, name: str, is_over: Callable[[StreamFacts], bool]) -> StreamFacts:
    deadline = Deadline(_MOVE_SEC)
    while True:
        # While a leader is elected nobody tells of it.
        found = next((stream for stream in list_streams(bus)[0] if stream.name == name), None)
        if found is not None and found.leader is not None and is_over(found):
            return found
        if deadline.has_passed:
            raise InvalidCommand(f"{name} has not moved in {_MOVE_SEC:.0f} s. Look with pyoco-nats doctor, and repeat.")
        time.sleep(_LOOK_SEC)


def _hand_over(system: Bus, server: str) -> None:
    """Have another server lead: the leader would remove itself, and nobody could confirm it."""
    deadline = Deadline(_ELECTION_SEC)
    while members(system).leader == server:
        if deadline.has_passed:
            raise BusUnavailable(f"{server} still leads the cluster: no other server takes over.")
        yield_leadership(system)
        time.sleep(_LOOK_SEC)
