"""How full NATS is, where anything limits it.

Source: NATS, JetStream API, ``$JS.API.INFO`` and ``$JS.API.STREAM.LIST``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.resources import stream_names
from pyoco_server.config import Config

#: The name of the storage that all streams share.
ACCOUNT = "JetStream"
#: From this share on somebody has to look, while there is still room.
_NEARLY_FULL = 0.9


@dataclass(frozen=True)
class Storage:
    """A stream with a limit, or all streams together where their account has one.

    :param limit_bytes: more than this many bytes are not kept.
    """

    name: str
    used_bytes: int
    limit_bytes: int

    @property
    def percent(self) -> int:
        return self.used_bytes * 100 // self.limit_bytes


def nearly_full(bus: Bus, config: Config) -> list[Storage]:
    """Find which of our streams is near its limit, or the account with all that is in it; the fullest first.

    :raises BusUnavailable: no answer.
    """
    account = bus.api("INFO")
    found = [Storage(ACCOUNT, account["storage"], account["limits"]["max_storage"])]
    ours = stream_names(config)
    for info in _streams(bus):
        if info["config"]["name"] in ours:
            found.append(Storage(info["config"]["name"], info["state"]["bytes"], info["config"]["max_bytes"]))
    full = [storage for storage in found if 0 < storage.limit_bytes * _NEARLY_FULL <= storage.used_bytes]
    return sorted(full, key=lambda storage: storage.percent, reverse=True)


def _streams(bus: Bus) -> Iterator[dict[str, Any]]:
    """Ask for all streams of the account; the server tells so many at a time."""
    count = 0
    while True:
        answer = bus.api("STREAM.LIST", {"offset": count})
        page = answer.get("streams") or []
        yield from page
        count += len(page)
        if not page or count >= answer.get("total", 0):
            return
