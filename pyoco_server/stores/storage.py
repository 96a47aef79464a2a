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
from pyoco_server.contract import names

#: The name of the storage that all streams share.
ACCOUNT = "JetStream"
#: From this share on somebody has to look, while there is still room.
_NEARLY_FULL = 0.9
#: To be full is their usual state: they keep the newest of what comes, as much as there is room for.
_ALWAYS_FULL = (names.LOGS_STREAM, names.object_stream(names.ARTIFACTS_BUCKET))


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


class StorageLook:
    """What is nearly full, for those who cannot wait for all servers to say how much they hold.

    :ivar full: as of the last :meth:`look`.
    """

    def __init__(self, bus: Bus, config: Config) -> None:
        self._bus = bus
        self._config = config
        self.full: list[Storage] = []

    def look(self) -> None:
        """Ask for everything anew.

        :raises BusUnavailable: no answer.
        """
        self.full = nearly_full_of(self._bus.api("INFO"), list_streams(self._bus)[0], self._config)


def nearly_full_of(account: Mapping[str, Any], streams: Iterable[StreamFacts], config: Config) -> list[Storage]:
    """Find which of our streams is near its limit, or the account with all that is in it; the fullest first.

    :param account: the answer to ``INFO``.
    """
    found = [Storage(ACCOUNT, account["storage"], account["limits"]["max_storage"])]
    ours = set(stream_names(config)).difference(_ALWAYS_FULL)
    found += [Storage(each.name, each.byte_count, each.settings["max_bytes"]) for each in streams if each.name in ours]
    full = [storage for storage in found if 0 < storage.limit_bytes * _NEARLY_FULL <= storage.used_bytes]
    return sorted(full, key=lambda storage: storage.percent, reverse=True)
