"""How full NATS is, where anything limits it.

Source: NATS, JetStream API, ``$JS.API.INFO`` and ``$JS.API.STREAM.LIST``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.overview import StreamFacts, list_streams
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
    return nearly_full_of(bus.api("INFO"), list_streams(bus)[0], config)


def nearly_full_of(account: Mapping[str, Any], streams: Iterable[StreamFacts], config: Config) -> list[Storage]:
    """Find the same in what was asked for already.

    :param account: the answer to ``INFO``.
    """
    found = [Storage(ACCOUNT, account["storage"], account["limits"]["max_storage"])]
    ours = stream_names(config)
    found += [Storage(each.name, each.byte_count, each.settings["max_bytes"]) for each in streams if each.name in ours]
    full = [storage for storage in found if 0 < storage.limit_bytes * _NEARLY_FULL <= storage.used_bytes]
    return sorted(full, key=lambda storage: storage.percent, reverse=True)
