"""What the system account of NATS can ask of a cluster: who belongs to it, to move a stream, to remove a server.

Source: nats-server, ``$SYS.REQ.SERVER.PING``, ``$SYS.REQ.SERVER.PING.JSZ``, ``$JS.API.ACCOUNT.STREAM.MOVE``,
``$JS.API.META.LEADER.STEPDOWN`` and ``$JS.API.SERVER.REMOVE``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.errors import BusUnavailable

#: The account of everybody who names none.
_ACCOUNT = "$G"
_NANOSECONDS = 1_000_000_000
#: A server that its leader has not heard of for so long counts as away; it hears every second.
SILENT_SEC = 10.0


@dataclass(frozen=True)
class Members:
    """The servers that keep a cluster's JetStream together.

    :param leader: the one that decides where streams lie.
    :param present: those that are there, the leader with them.
    :param away: those that are not, and have not been removed.
    """

    leader: str
    present: frozenset[str]
    away: frozenset[str]


def members(system: Bus) -> Members:
    """Ask the leader for the members.

    :param system: a connection of the system account.
    :raises BusUnavailable: there is no leader, or no such account.
    """
    answer = system.patiently(
        lambda: system.request("$SYS.REQ.SERVER.PING.JSZ", json.dumps({"leader_only": True}).encode())
    )
    told: dict[str, Any] = json.loads(answer.data)["data"]["meta_cluster"]
    others = told.get("replicas") or ()
    away = {peer["name"] for peer in others if _is_away(system, peer)}
    return Members(
        told["leader"], frozenset({told["leader"], *(peer["name"] for peer in others)} - away), frozenset(away)
    )


def _is_away(system: Bus, peer: dict[str, Any]) -> bool:
    silent_sec = peer.get("active", 0) / _NANOSECONDS
    # One that has been killed is called offline much later.
    if peer.get("offline") or silent_sec > SILENT_SEC:
        return True
    # A leader that was just elected has not heard of anybody, and of those that are lost it says so for ever.
    return silent_sec == 0 and not peer.get("current") and not _answers(system, peer["name"])


def _answers(system: Bus, server: str) -> bool:
    wanted = json.dumps({"server_name": server, "exact_match": True}).encode()
    try:
        system.patiently(lambda: system.request("$SYS.REQ.SERVER.PING", wanted), budget_sec=0)
    except BusUnavailable:
        return False
    return True


def move_stream(system: Bus, stream: str, server: str) -> None:
    """Have a server's copy of a stream made on another one, and given up where it is; this takes its time.

    :raises BusError: there is no other one.
    """
    system.api(f"ACCOUNT.STREAM.MOVE.{_ACCOUNT}.{stream}", {"server": server})


def yield_leadership(system: Bus) -> None:
    """Have the leader of the members make room for another one."""
    system.api("META.LEADER.STEPDOWN", {})


def remove_server(system: Bus, server: str) -> None:
    """Remove a member for good; its JetStream ends."""
    system.api("SERVER.REMOVE", {"peer": server})
