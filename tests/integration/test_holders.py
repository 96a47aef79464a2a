"""Who holds a run is gone when he was silent for too long, and could have spoken."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from pyoco_server.errors import BusUnavailable
from pyoco_server.operations.holder import Holders
from pyoco_server.stores.workers import WorkerStore
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

TIMEOUT_SEC = 5.0


def wait_frozen(nats: NatsServer, wait: Callable[[], None]) -> None:
    with nats.frozen():
        wait()


def wait_killed(nats: NatsServer, wait: Callable[[], None]) -> None:
    nats.stop(signal.SIGKILL)
    wait()
    nats.start()


@pytest.mark.long
@pytest.mark.parametrize("outage", [wait_frozen, wait_killed])
def test_a_holder_is_not_gone_because_nats_was_away_for_longer_than_his_time_out(
    nats: NatsServer, parts: Parts, outage: Callable[[NatsServer, Callable[[], None]], None]
) -> None:
    """All who were cut off come back at once, and whoever is first is given the jobs of the others to judge."""
    workers = WorkerStore(parts.bus, parts.config)
    holders = Holders(parts.runs, workers, disconnect_timeout_sec=TIMEOUT_SEC, cancel_grace_sec=TIMEOUT_SEC)
    parts.put("r1", stored_run("r1", status="RUNNING", worker_id="w", instance_id="i", attempt=1))
    stored = parts.runs.get("r1")

    def wait() -> None:
        def has_lasted() -> bool:
            with pytest.raises(BusUnavailable):
                parts.runs.server_time()
            return time.time() > stored.stored_at + TIMEOUT_SEC

        eventually(has_lasted, what="an outage that is long enough")

    outage(nats, wait)
    eventually(lambda: parts.bus.is_connected, what="the connection")
    assert not holders.is_gone(stored)
    eventually(lambda: holders.is_gone(stored), what="the end of his time", timeout_sec=60)
