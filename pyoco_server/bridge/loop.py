"""The one asyncio loop of a process, on a thread of its own, behind a blocking call; it watches descriptors, too.

Source: design, sections 1 and 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from pyoco_server.bridge.messages import Outcome
from pyoco_server.errors import BusTimeout, BusUnavailable
from pyoco_server.service import Service

T = TypeVar("T")

#: Seconds that the thread needs at most to start its loop.
_START_TIMEOUT_SEC = 10.0
#: How often the loop shows that it turns, and for how long it may not before it counts as stuck: nothing on it waits.
_BEAT_SEC = 1.0
_PATIENCE_SEC = 10.0
#: Seconds in which cancelled coroutines may tell their callers before the loop stops.
_WIND_UP_SEC = 0.05


class _Call(Generic[T]):
    """A coroutine on its way to the loop, and its result on the way back.

    One lock is all that the two threads share: what asyncio has for this costs three times as much.
    """

    #: There once it is done without an error.
    _result: T

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._undone = threading.Lock()
        self._undone.acquire()

    async def carry_out(self) -> None:
        """Run the coroutine; on the loop thread."""
        try:
            self._result = await self._work
        except BaseException as exc:
            self._error = exc
        self._end()
        # An error holds this frame, which would hold the call, which holds the error: nobody may ever take it out.
        del self

    def give_up(self) -> None:
        """Tell the caller that the loop will not get round to it any more."""
        self._work.close()
        self._error = asyncio.CancelledError()
        self._end()

    def _end(self) -> None:
        self._undone.release()

    def result(self, timeout_sec: float) -> T:
        """Wait for the result; on the caller's thread."""
        if not self._undone.acquire(timeout=timeout_sec):
            raise BusTimeout(f"NATS did not answer within {timeout_sec:g} s.")
        # An error holds the frames that it came through: kept in one of them, it would be a cycle that stays for long.
        error, self._error = self._error, None
        if isinstance(error, asyncio.CancelledError):
            raise BusTimeout("The connection to NATS was closed before the answer came.")
        if error is not None:
            try:
                raise error
            finally:
                del error
        return self._result


class _ToldCall(_Call[T]):
    """A call whose caller does not wait, and is told of the result."""

    def __init__(self, work: Coroutine[Any, Any, T], done: Callable[[Outcome[T]], None]) -> None:
        super().__init__(work)
        self._done = done

    def _end(self) -> None:
        has_failed = self._error is not None
        super()._end()
        self._done(Outcome(has_failed, functools.partial(self.result, 0)))


class LoopThread(Service):
    """Runs coroutines for threads that must not know of them."""

    patience_sec = _PATIENCE_SEC

    def __init__(self) -> None:
        super().__init__("pyoco-bridge")
        self._loop = asyncio.new_event_loop()
        self._turning = threading.Event()
        #: Calls that the loop has not begun; one wake-up of the loop is enough for all of them.
        self._calls: deque[_Call[Any]] = deque()
        self._is_woken = False
        #: The loop itself does not keep its tasks alive.
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start the loop; proven by a callback that it has run."""
        super().start()
        if not self._turning.wait(_START_TIMEOUT_SEC):
            raise BusUnavailable("The bridge's loop thread did not start.")

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._turning.set)
        self._turn()
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
            while self._calls:
                self._calls.popleft().give_up()

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
        self._require_open(work)
        call = _Call(work)
        self._send(call)
        return call.result(timeout_sec)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine without waiting for it; it reports by itself."""
        if self.is_stopping or self._loop.is_closed():
            work.close()
            return
        self._send(_Call(work))

    def do(self, step: Callable[[], T]) -> T:
        """Have a function called on the loop thread, and wait for its result.

        :param step: must not block.
        :raises BusUnavailable: as :meth:`call`.
        """

        async def once() -> T:
            return step()

        return self.call(once(), timeout_sec=_PATIENCE_SEC)

    @contextlib.contextmanager
    def watching(self, fd: int, ready: Callable[[], None], *, every_sec: float) -> Iterator[None]:
        """As long as this is open, have a function called on the loop thread whenever a descriptor can be read.

        :param ready: must neither block nor raise.
        :param every_sec: it is called at least so often.
        :raises BusUnavailable: the bridge is closed.
        """
        timer: asyncio.TimerHandle

        def come_round() -> None:
            nonlocal timer
            timer = self._loop.call_later(every_sec, come_round)
            ready()

        def begin() -> None:
            self._loop.add_reader(fd, ready)
            come_round()

        def end() -> None:
            timer.cancel()
            self._loop.remove_reader(fd)

        self.do(begin)
        try:
            yield
        finally:
            # A loop that has ended watches nothing.
            with contextlib.suppress(BusUnavailable):
                self.do(end)

    def begin(self, work: Coroutine[Any, Any, T], done: Callable[[Outcome[T]], None]) -> None:
        """Run a coroutine on the loop, and return at once.

        :param done: called once, on the loop thread, with what :meth:`call` would have given or raised; it must neither
            block nor raise. Where the loop ends at this moment it is called on the caller's thread.
        :raises BusUnavailable: the bridge is closed; ``done`` is not called.
        """
        self._require_open(work)
        self._send(_ToldCall(work, done))

    def _require_open(self, work: Coroutine[Any, Any, Any]) -> None:
        if self.is_stopping or self._loop.is_closed():
            work.close()
            raise BusUnavailable("The connection to NATS is closed.")

    def _send(self, call: _Call[Any]) -> None:
        self._calls.append(call)
        if self.is_current:
            # A loop that turns need not be woken.
            self._begin()
            return
        # Set by several threads at once it costs a wake-up too many, never one too few: see _begin().
        if not self._is_woken:
            self._is_woken = True
            self._wake_loop()

    def _turn(self) -> None:
        self.beat()
        self._loop.call_later(_BEAT_SEC, self._turn)

    def _wake_loop(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError:
            # It was closed at this moment.
            while self._calls:
                self._calls.popleft().give_up()

    def _begin(self) -> None:
        """Begin the calls that have come in."""
        # Before they are taken: who comes later wakes the loop again.
        self._is_woken = False
        while self._calls:
            call = self._calls.popleft()
            task = self._loop.create_task(call.carry_out())
            self._tasks.add(task)
            task.add_done_callback(functools.partial(self._end, call))

    def _end(self, call: _Call[Any], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            # The loop has ended before the task began, so it could tell nobody.
            call.give_up()

    def _wind_up(self) -> None:
        """End what still runs, so that whoever waits for it is told, and stop the loop a moment later."""
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_later(_WIND_UP_SEC, self._loop.stop)
