"""A NATS server that keeps its connections and takes nothing any more: whoever is connected goes to another one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.service import Deadline
from tests.support.nats import NatsServer
from tests.support.waiting import PATIENCE_SEC

#: More than the kernel takes for somebody who does not read.
WRITES = [[Write("much", b"." * 500_000)]] * 50


@pytest.mark.long
def test_connection_goes_to_another_server_with_much_that_the_silent_one_has_not_taken(
    nats: NatsServer, tmp_path: Path
) -> None:
    other = NatsServer(tmp_path / "other")
    bus = Bus(f"{nats.url},{other.url}", name="test", budget_sec=0.0, waits_when_down=False)
    is_back = threading.Event()
    bus.on_reconnect(is_back.set)
    try:
        # To the one that is there.
        bus.connect(10)
        other.start()
        with nats.frozen():
            bus.write_each(WRITES)
            assert is_back.wait(PATIENCE_SEC)
    finally:
        bus.close(Deadline(5))
        other.stop()
