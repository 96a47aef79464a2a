"""Revoking an API key while others write the same record."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.resources import ensure_bucket
from pyoco_server.config import Config
from pyoco_server.contract.keys import ApiKey, KeyRecord
from pyoco_server.service import Deadline
from pyoco_server.stores.keys import KeyStore
from tests.support.nats import NatsServer

OPERATORS = 4
CONFIG = Config()


@pytest.fixture
def buses(nats: NatsServer) -> Iterator[list[Bus]]:
    """A connection for each operator."""
    connected: list[Bus] = []
    try:
        for number in range(OPERATORS):
            connected.append(Bus(nats.url, name=f"operator-{number}", budget_sec=5, waits_when_down=False))
            connected[-1].connect(5)
        yield connected
    finally:
        for bus in connected:
            bus.close(Deadline(5))


def test_operators_who_revoke_a_key_at_the_same_time_agree_on_the_first_time(buses: list[Bus]) -> None:
    ensure_bucket(buses[0], CONFIG, CONFIG.auth_kv_bucket)
    stores = [KeyStore(bus, CONFIG) for bus in buses]
    together = Barrier(OPERATORS, timeout=10)

    def revoke(number: int, key_id: str) -> float | None:
        together.wait()
        record = stores[number].revoke(key_id, now=1000.0 + number)
        assert record is not None
        return record.revoked_at

    with ThreadPoolExecutor(OPERATORS) as operators:
        for _ in range(10):
            # The hash is of no account here, and takes long to compute.
            key_id = ApiKey.generate().key_id
            stores[0].create(KeyRecord(key_id, "acme", "none", 1, "", "", created_at=900.0))
            times = list(operators.map(revoke, range(OPERATORS), [key_id] * OPERATORS))
            stored = {record.key_id: record.revoked_at for record in stores[0].all()}
            assert times == [stored[key_id]] * OPERATORS
