"""How a connection to NATS ends: with nothing left behind, and without a word of nats-py."""

from __future__ import annotations

import gc
import signal
import warnings
from typing import Any

import pytest

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.errors import BusError, BusUnavailable
from pyoco_server.service import Deadline
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually


def test_an_attempt_to_connect_that_is_given_up_leaves_no_socket_behind(nats: NatsServer) -> None:
    """A worker that waited for NATS left one for each of its attempts to the garbage collector."""
    with nats.frozen(), warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        for timeout_sec in (0.3, 2.3):
            with pytest.raises(BusUnavailable):
                Bus(nats.url, name="test", budget_sec=1, waits_when_down=False).connect(timeout_sec)
        gc.collect()
    assert [str(warning.message) for warning in left] == []


def test_a_connection_that_was_lost_with_something_unsent_is_closed_like_any_other(nats: NatsServer) -> None:
    """A gateway whose NATS had died for good ended with an unexpected ConnectionResetError instead of the reason."""
    bus = Bus(nats.url, name="test", budget_sec=1, waits_when_down=False)
    bus.connect(10)
    nats.stop(signal.SIGKILL)
    eventually(lambda: not bus.is_connected, what="the loss noticed")
    bus.call(bus.subscribe("any", lambda message: None), timeout_sec=5)
    bus.close(Deadline(5))
    assert bus.has_ended


def test_what_comes_is_read_in_pieces_for_which_no_memory_is_mapped_also_after_a_reconnect(nats: NatsServer) -> None:
    """asyncio makes room for a quarter of a megabyte with each message, which the C library maps and unmaps."""
    bus = Bus(nats.url, name="test", budget_sec=30, waits_when_down=True)
    bus.connect(30)
    reconnected: list[int] = []
    bus.on_reconnect(lambda: reconnected.append(_read_bytes(bus)))
    assert _read_bytes(bus) <= 64 * 1024
    nats.stop()
    nats.start()
    eventually(lambda: reconnected, what="the connection again", timeout_sec=60)
    assert reconnected[0] <= 64 * 1024
    bus.close(Deadline(5))


def _read_bytes(bus: Bus) -> int:
    transport: Any = bus.connection._transport
    return int(transport._io_writer.transport.max_size)


@pytest.mark.parametrize("tag", ["", ".", "a b", "a.", "a\r\nPUB b 0\r\n", "a\tb"])
def test_what_is_no_subject_is_refused_at_once(parts: Parts, tag: str) -> None:
    """It was asked for again and again, and whoever asked believed NATS away: one odd run held all housekeeping up."""
    with pytest.raises(BusError, match="NATS has no subject"):
        parts.bus.write(Write(f"pyoco.work.{tag}", b""))
    assert parts.jobs() == []
