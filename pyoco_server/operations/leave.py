"""Taking a server out of a cluster, with nothing lost that it holds.

Source: design, section 9.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.cluster import SILENT_SEC, members, move_stream, remove_server, yield_leadership
from pyoco_server.bridge.overview import StreamFacts, await_stream, list_streams
from pyoco_server.bridge.streams import change_stream
from pyoco_server.errors import BusUnavailable, InvalidCommand
from pyoco_server.service import Deadline

#: How long the copy of one stream, or an election, may take.
_MOVE_SEC = 1800.0
_ELECTION_SEC = 60.0
#: How long streams may take to choose other leaders; those that have no copy left never do.
_LEADERS_SEC = 15.0
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
        _await(bus, stream.name, lambda found: has_moved(found, server))
        report(stream.name)


def remove_lost(bus: Bus, system: Bus, server: str, *, gives_up: bool) -> list[str]:
    """Remove a server from the cluster that will not come back; others get the copies that it had, where there are any.

    :param system: a connection of the system account.
    :param gives_up: whether streams may be given up of which no copy is left.
    :return: the streams of which it had a copy.
    :raises InvalidCommand: it is no server of the cluster, or is there, or the only copy of something was there.
    :raises BusUnavailable: no answer; safe to repeat.
    """
    found = members(system)
    if server in found.present:
        raise InvalidCommand(
            f"{server} is there, or was within the last {SILENT_SEC:.0f} s: on its machine, leave without --lost takes "
            "it out of the cluster and loses nothing."
        )
    if server not in found.away:
        away = f"Away are {', '.join(sorted(found.away))}" if found.away else "None is away"
        raise InvalidCommand(f"The cluster has no server {server}. {away}.")
    deadline = Deadline(_LEADERS_SEC)
    streams, silent = list_streams(bus)
    while silent and not deadline.has_passed:
        # Those that it led may just be choosing another leader.
        time.sleep(_LOOK_SEC)
        streams, silent = list_streams(bus)
    if silent and not gives_up:
        raise InvalidCommand(
            f"No server that is left has a copy of {', '.join(silent)}. Start {server} again, or give --stop-anyway "
            "and restore them from a backup."
        )
    held = [stream for stream in streams if server in _holders(stream)]
    remove_server(system, server)
    for stream in held:
        if stream.replica_count <= len(found.present):
            _await(
                bus, stream.name, lambda now: has_moved(now, server) and all(copy.is_current for copy in now.replicas)
            )
    return [stream.name for stream in held]


def has_moved(stream: StreamFacts, server: str) -> bool:
    """Say whether others have all copies of a stream; its leader may for a moment tell of itself alone."""
    holders = _holders(stream)
    return not stream.is_moving and server not in holders and len(holders) == stream.replica_count


def _holders(stream: StreamFacts) -> set[str | None]:
    return {stream.leader, *(replica.name for replica in stream.replicas)}


def _await(bus: Bus, name: str, is_over: Callable[[StreamFacts], bool]) -> StreamFacts:
    found = await_stream(bus, name, is_over, Deadline(_MOVE_SEC))
    if found is None:
        raise InvalidCommand(f"{name} has not moved in {_MOVE_SEC:.0f} s. Look with pyoco-nats doctor, and repeat.")
    return found


def _hand_over(system: Bus, server: str) -> None:
    """Have another server lead: the leader would remove itself, and nobody could confirm it."""
    deadline = Deadline(_ELECTION_SEC)
    while members(system).leader == server:
        if deadline.has_passed:
            raise BusUnavailable(f"{server} still leads the cluster: no other server takes over.")
        yield_leadership(system)
        time.sleep(_LOOK_SEC)
