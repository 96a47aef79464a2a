"""How a program that uses this package as a library comes to NATS."""

from __future__ import annotations

from pyoco_server.bridge import resources
from pyoco_server.bridge.client import GATEWAY_BUDGET_SEC, Bus
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.service import Deadline

#: How long NATS may take to answer at first.
CONNECT_SEC = 8.0
CLOSE_SEC = 5.0


def ensure_resources(config: Config | None = None) -> list[str]:
    """Create the streams and buckets that are missing; what is there stays as it is.

    :param config: the settings; read from the environment when ``None``.
    :return: the names of the streams that were made; a bucket's begins with ``KV_``, an object store's with ``OBJ_``.
    :raises BusUnavailable: NATS does not answer; safe to repeat.
    :raises BusError: NATS refuses, as without JetStream.
    :raises InvalidSetting: a setting does not parse.
    """
    config = config or Config.from_env()
    bus = connected_bus(config)
    try:
        return resources.ensure_resources(bus, config)
    finally:
        bus.close(Deadline(CLOSE_SEC))


def connected_bus(config: Config) -> Bus:
    """Connect; the caller closes.

    :raises BusUnavailable: NATS does not answer.
    """
    bus = Bus.of(config, names.GATEWAY_ROLE, name="pyoco-library", budget_sec=GATEWAY_BUDGET_SEC)
    bus.connect(CONNECT_SEC)
    return bus
