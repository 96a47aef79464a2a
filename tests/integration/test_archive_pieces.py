"""Pieces of an archive on their way to the server that takes them, of which the connected one may not have heard."""

from __future__ import annotations

import asyncio
import threading
import time

import nats.aio.msg
import pytest

from pyoco_server.bridge.snapshots import hand_over
from pyoco_server.errors import BusUnavailable
from tests.support.parts import Parts


class Taker:
    """Takes pieces at an inbox, as the server does that restores a stream."""

    def __init__(self, parts: Parts, inbox: str) -> None:
        self.pieces: list[bytes] = []
        self._bus, self._inbox = parts.bus, inbox
        self._answering: set[asyncio.Task[None]] = set()

    def appear(self) -> None:
        self._bus.call(self._appear(), timeout_sec=5)

    async def _appear(self) -> None:
        await self._bus.subscribe(self._inbox, self._take)

    def _take(self, piece: nats.aio.msg.Msg) -> None:
        self.pieces.append(piece.data)
        answering = asyncio.create_task(self._bus.publish(piece.reply, b""))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)


def test_the_first_piece_waits_until_somebody_is_there_who_takes_it(parts: Parts) -> None:
    taker = Taker(parts, "restore.here")
    with pytest.raises(BusUnavailable, match="nobody"):
        hand_over(parts.bus, "restore.here", b"one", 0.0)
    timer = threading.Timer(0.5, taker.appear)
    timer.start()
    assert hand_over(parts.bus, "restore.here", b"one", time.monotonic() + 30) == {}
    timer.join()
    assert taker.pieces == [b"one"]
