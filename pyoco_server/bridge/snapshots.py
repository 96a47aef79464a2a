"""Streams as archives: what the server makes of a stream, and makes a stream of again.

An archive comes in chunks, each of which is acknowledged, so that neither side holds more than a window of it. It has
all messages with their sequences, and the consumers with what they know of their messages; message ids are not in it.

Source: JetStream API, ``STREAM.SNAPSHOT`` and ``STREAM.RESTORE``; nats-facts, G.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import nats.aio.msg
import nats.errors

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.translate import api_answer
from pyoco_server.errors import BusError, BusTimeout, BusUnavailable

#: Size of the pieces of an archive, and how much of it may be on its way unacknowledged.
CHUNK_BYTES = 131_072
_WINDOW_BYTES = 4 * 1024 * 1024
#: An archive is given up when nothing of it has come, or been taken, for so long: before the first piece and after the
#: last one the server goes through all of a large stream.
_SILENCE_SEC = 120.0
_LOOK_SEC = 0.02
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
    for chunk in chunks:
        _hand_over(bus, inbox, chunk)
    state: dict[str, Any] = _hand_over(bus, inbox, b"").get("state") or {}
    return state


def _hand_over(bus: Bus, inbox: str, chunk: bytes) -> dict[str, Any]:
    answer = bus.call(bus.request(inbox, chunk, timeout_sec=_SILENCE_SEC), timeout_sec=_SILENCE_SEC + 5)
    return api_answer(answer.data, inbox) if answer.data else {}


class _Reader:
    """Takes an archive chunk by chunk."""

    def __init__(self, bus: Bus, stream: str, write: Callable[[bytes], object]) -> None:
        self._bus = bus
        self._stream = stream
        self._write = write
        self._heard_at = 0.0
        self._answer: bytes | None = None
        self._is_complete = False
        self._failure: Exception | None = None

    async def read(self) -> Archived:
        endpoint = f"$JS.API.STREAM.SNAPSHOT.{self._stream}"
        inbox, reply = self._bus.new_inbox(), self._bus.new_inbox()
        subscriptions = [
            await self._bus.subscribe(inbox, self._take),
            await self._bus.subscribe(reply, self._take_answer),
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
            await self._wait(lambda: self._answer is not None)
            told = api_answer(self._answer or b"", endpoint)
            await self._wait(lambda: self._is_complete)
        finally:
            for subscription in subscriptions:
                with contextlib.suppress(nats.errors.Error):
                    await subscription.unsubscribe()
        return Archived(told["config"], told["state"])

    async def _wait(self, is_over: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        while not is_over():
            if not self._bus.is_connected:
                raise BusUnavailable(f"The connection to NATS was lost in the midst of {self._stream}.")
            if self._failure is not None:
                raise self._failure
            if loop.time() - self._heard_at > _SILENCE_SEC:
                raise BusTimeout(f"NATS gave nothing of {self._stream} for {_SILENCE_SEC:.0f} s.")
            await asyncio.sleep(_LOOK_SEC)

    async def _take_answer(self, message: nats.aio.msg.Msg) -> None:
        if message.data:
            self._answer = message.data
        else:
            self._failure = BusUnavailable(f"NATS has nobody that gives {self._stream}: its leader is away.")

    async def _take(self, message: nats.aio.msg.Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if not message.data:
            status = (message.headers or {}).get("Status", "204")
            if status == "204":
                self._is_complete = True
            else:
                reason = (message.headers or {}).get("Description", status)
                self._failure = BusError(f"NATS cannot make an archive of {self._stream}: {reason}.")
            return
        try:
            self._write(message.data)
            # For some the server wants no acknowledgement.
            if message.reply:
                await self._bus.publish(message.reply, b"")
        except Exception as exc:
            # Raised here it would be lost: what fails is for the reader to tell.
            self._failure = exc
