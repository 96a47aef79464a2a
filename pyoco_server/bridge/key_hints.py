"""Word of writes to one subject of a stream, such as a key of a bucket, at the moment they are made.

A plain subscription to the subject costs no consumer and hears of a write within a millisecond, in a cluster too.
What it hears is a hint: JetStream may refuse the write, and nothing is heard while the connection is away. Whoever is
told reads what is stored, or writes by compare-and-set, and acts on what that says.

Source: nats-facts, section E.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import nats.errors

from pyoco_server.bridge.client import Bus


class KeyHints:
    """Subscriptions to subjects, over one connection."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        #: By listener: what is told of writes, and the subscription once it is made. Used on the loop thread alone.
        self._listeners: dict[object, tuple[Callable[[bytes], None], Any]] = {}
        bus.on_reconnect(self._tell_of_gap)

    @contextlib.contextmanager
    def listen(self, subject: str, hear: Callable[[bytes], None]) -> Iterator[None]:
        """Hear of writes to a subject for as long as the ``with`` block lasts.

        Returns without waiting for the server; what is written after the next answered request of this connection is
        heard of.

        :param hear: called on the loop thread with what is being written, own writes included; with ``b""`` when the
            connection was lost and is back. Must neither block nor raise.
        """
        listener = object()
        self._bus.spawn(self._begin(listener, subject, hear))
        try:
            yield
        finally:
            self._bus.spawn(self._end(listener))

    async def _begin(self, listener: object, subject: str, hear: Callable[[bytes], None]) -> None:
        self._listeners[listener] = (hear, None)
        with contextlib.suppress(nats.errors.Error, OSError):
            # nats-py's subscriptions are cycles, which Python finds late: they hold nothing of the listener.
            subscription = await self._bus.subscribe(subject, lambda message: self._pass_on(listener, message.data))
            if listener in self._listeners:
                self._listeners[listener] = (hear, subscription)
            else:
                await subscription.unsubscribe()

    def _pass_on(self, listener: object, payload: bytes) -> None:
        if listener in self._listeners:
            self._listeners[listener][0](payload)

    async def _end(self, listener: object) -> None:
        _, subscription = self._listeners.pop(listener, (None, None))
        if subscription is not None:
            # Also while the connection is away: it is not subscribed again after the reconnect.
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    def _tell_of_gap(self) -> None:
        for hear, _ in self._listeners.values():
            hear(b"")
