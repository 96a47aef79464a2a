"""The one asyncio loop of a process, on a thread of its own, behind a blocking call.

Source: design, sections 1 and 2.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from pyoco_server.errors import BusTimeout, BusUnavailable
from pyoco_server.service import Service

T = TypeVar("T")

#: Seconds that the thread needs at most to start its loop.
_START_TIMEOUT_SEC = 10.0
#: Seconds in which cancelled coroutines may tell their callers before the loop stops.
_WIND_UP_SEC = 0.05


class LoopThread(Service):
    """Runs coroutines for threads that must not know of them."""

    def __init__(self) -> None:
        super().__init__("pyoco-bridge")
        self._loop = asyncio.new_event_loop()
        self._turning = threading.Event()

    def start(self) -> None:
        """Start the loop; proven by a callback that it has run."""
        super().start()
        if not self._turning.wait(_START_TIMEOUT_SEC):
            raise BusUnavailable("The bridge's loop thread did not start.")

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._turning.set)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def wake(self) -> None:
        if self._turning.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wind_up)

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def call(self, work: Coroutine[Any, Any, T], *, timeout_sec: float) -> T:
        """Run a coroutine on the loop and wait for its result.

        The coroutine has deadlines of its own; ``timeout_sec`` is the net below them. It is not cancelled when
        the net is reached: on Python 3.11 and older a cancellation can be swallowed, and whoever waits for it
        waits for ever.

        :raises BusUnavailable: the bridge is closed.
        :raises BusTimeout: the net was reached, or the bridge was closed meanwhile.
        """
        if self.is_current:
            work.close()
            raise RuntimeError("a blocking call was made from the bridge's own thread")
        if self.is_stopping or self._loop.is_closed():
            work.close()
            raise BusUnavailable("The connection to NATS is closed.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_sec)
        except concurrent.futures.TimeoutError:
            raise BusTimeout(f"NATS did not answer within {timeout_sec:g} s.") from None
        except concurrent.futures.CancelledError:
            raise BusTimeout("The connection to NATS was closed before the answer came.") from None

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine without waiting for it; it reports by itself."""
        if self.is_stopping or self._loop.is_closed():
            work.close()
            return
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def _wind_up(self) -> None:
        """End what still runs, so that whoever waits for it is told, and stop the loop a moment later."""
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_later(_WIND_UP_SEC, self._loop.stop)
