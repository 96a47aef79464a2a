"""Streams as archives: what the server makes of a stream, and makes a stream of again.

An archive comes in chunks, each of which is acknowledged, so that neither side holds more than a window of it. It has
all messages with their sequences, and the consumers with what they know of their messages; message ids are not in it.

Source: JetStream API, ``STREAM.SNAPSHOT`` and ``STREAM.RESTORE``; nats-facts, G.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.aio.msg
import nats.errors

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.translate import api_answer
from pyoco_server.errors import BusError, BusTimeout, BusUnavailable

T = TypeVar("T")

#: Size of the pieces of an archive, and how much of it may be on its way unacknowledged.
CHUNK_BYTES = 131_072
_WINDOW_BYTES = 4 * 1024 * 1024
#: An archive is given up when nothing of it has come, or been taken, for so long: before the first piece and after the
#: last one the server goes through all of a large stream.
_SILENCE_SEC = 120.0
_LOOK_SEC = 0.02
#: In a cluster another server than ours may take an archive, and ours hears a moment later where.
_HEARD_OF_SEC = 10.0
#: The status of what comes after the last chunk.
_END = "204"
#: The net below all that: no stream takes as long.
_NET_SEC = 7 * 86_400.0


@dataclass(frozen=True)
class Archived:
    """A stream as it was when its archive was begun; both in the server's words."""

    settings: dict[str, Any]
    state: dict[str, Any]


def save_stream(bus: Bus, stream: str, write: Callable[[bytes], object]) -> Archived:
    """Have the server make an archive of a stream, and write it.

    :param write: takes one chunk after the other, on the loop thread.
    :raises BusError: the server cannot, or found the stream damaged.
    :raises BusUnavailable: the connection was lost, or nothing came for too long.
    """
    return bus.call(_Reader(bus, stream, write).read(), timeout_sec=_NET_SEC)


def restore_stream(bus: Bus, archived: Archived, chunks: Iterable[bytes]) -> dict[str, Any]:
    """Have the server make a stream of an archive; there must be none of its name.

    When this ends half-way for any reason, the server makes nothing of what it has.

    :return: the state of the stream, in the server's words.
    :raises BusError: the server refuses the settings, or finds the archive damaged.
    :raises BusUnavailable: an answer was lost.
    """
    body = {"config": archived.settings, "state": archived.state}
    inbox = bus.api(f"STREAM.RESTORE.{archived.settings['name']}", body)["deliver_subject"]
    give_up_at = time.monotonic() + _HEARD_OF_SEC
    for chunk in chunks:
        hand_over(bus, inbox, chunk, give_up_at)
        # Whoever takes the archive is known now: when nobody takes it any more he has ended.
        give_up_at = 0.0
    state: dict[str, Any] = hand_over(bus, inbox, b"", give_up_at).get("state") or {}
    return state


def hand_over(bus: Bus, inbox: str, chunk: bytes, give_up_at: float) -> dict[str, Any]:
    """Hand a piece over, again as long as there is nobody who takes it, until a time of ``time.monotonic()``."""
    while True:
        try:
            answer = bus.call(bus.request(inbox, chunk, timeout_sec=_SILENCE_SEC), timeout_sec=_SILENCE_SEC + 5)
            return api_answer(answer.data, inbox) if answer.data else {}
        except BusTimeout:
            # It may have come, and would be there twice.
            raise
        except BusUnavailable:
            if time.monotonic() >= give_up_at:
                raise
        time.sleep(_LOOK_SEC)


class _Reader:
    """Takes an archive chunk by chunk."""

    def __init__(self, bus: Bus, stream: str, write: Callable[[bytes], object]) -> None:
        self._bus = bus
        self._stream = stream
        self._write = write
        self._answers: deque[bytes] = deque()
        self._arrived: deque[nats.aio.msg.Msg] = deque()

    async def read(self) -> Archived:
        endpoint = f"$JS.API.STREAM.SNAPSHOT.{self._stream}"
        inbox, reply = self._bus.new_inbox(), self._bus.new_inbox()
        subscriptions = [
            await self._bus.subscribe(inbox, self._arrived.append),
            await self._bus.subscribe(reply, lambda message: self._answers.append(message.data)),
        ]
        body = {
            "deliver_subject": inbox,
            "chunk_size": CHUNK_BYTES,
            "window_size": _WINDOW_BYTES,
            # What is damaged is found now, and not when it is needed.
            "jsck": True,
        }
        try:
            # Not as a request, which would wait for an answer although the connection was lost.
            await self._bus.publish(endpoint, json.dumps(body).encode(), reply)
            answer = await self._next(self._answers)
            if not answer:
                raise BusUnavailable(f"NATS has nobody that gives {self._stream}: its leader is away.")
            told = api_answer(answer, endpoint)
            while await self._take(await self._next(self._arrived)):
                pass
        finally:
            for subscription in subscriptions:
                with contextlib.suppress(nats.errors.Error):
                    await subscription.unsubscribe()
        return Archived(told["config"], told["state"])

    async def _next(self, arrived: deque[T]) -> T:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _SILENCE_SEC
        while not arrived:
            if not self._bus.is_connected:
                raise BusUnavailable(f"The connection to NATS was lost in the midst of {self._stream}.")
            if loop.time() > give_up_at:
                raise BusTimeout(f"NATS gave nothing of {self._stream} for {_SILENCE_SEC:.0f} s.")
            await asyncio.sleep(_LOOK_SEC)
        return arrived.popleft()

    async def _take(self, message: nats.aio.msg.Msg) -> bool:
        """Take a chunk, and say whether it was not the end."""
        if not message.data:
            headers = message.headers or {}
            status = headers.get("Status", _END)
            if status != _END:
                reason = headers.get("Description", status)
                raise BusError(f"NATS cannot make an archive of {self._stream}: {reason}.")
            return False
        self._write(message.data)
        # For some the server wants no acknowledgement.
        if message.reply:
            await self._bus.publish(message.reply, b"")
        return True
