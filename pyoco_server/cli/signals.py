"""How a long-lived command is told to stop: a thread reads the signals from a pipe, and handlers do no work.

SIGINT, SIGTERM, and SIGHUP of a terminal that closes. And SIGURG, which every program ignores that was not told
otherwise: a service manager may send it to all processes of a worker, and means the worker alone.

A handler of Python runs in the main thread between any two of its steps. One that sets an event, for which the main
thread is just about to wait, waits for itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from pyoco_server.errors import PyocoServerError
from pyoco_server.service import Service


class _SignalReader(Service):
    """Takes the number of each signal out of a pipe, into which the C level writes it.

    That happens in whichever thread the kernel gives a signal to, and waits for nobody.
    """

    def __init__(self, take: Callable[[int], None]) -> None:
        super().__init__("pyoco-signals")
        self._take = take
        self._pipe, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written, warn_on_full_buffer=False)

    def run(self) -> None:
        while True:
            for number in os.read(self._pipe, 64):
                self._take(number)


class StopSignals:
    """Waits for a signal, for a part that fails, or for the work to be done."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        #: Whether somebody asked for the end, by a signal for instance, and not a part of the command itself.
        self.was_asked = False
        #: Called, from a thread of its own, when a second signal says that it means now.
        self.on_second: Callable[[], None] | None = None
        self._first_may_come = False
        self._failure: str | None = None
        self._interrupts = False
        self._lock = threading.Lock()
        #: Signals that this process has sent to itself and not heard of yet.
        self._own_count = 0
        self._numbers: set[int] = set()
        _SignalReader(self._take).start()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGURG):
            # A terminal that closes means a stop, unless nohup has said otherwise. SIGINT is different: a shell
            # without job control has each command behind an & ignore it, and Ctrl-C is then sent by kill.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._numbers.add(number)
                signal.signal(number, self._interrupt)

    def drain(self) -> None:
        """Have the command end as by a first signal, which may still come, from any thread."""
        # After one that has come, the next is the second all the same: whoever sends it means now.
        self._first_may_come = not self.was_asked
        self._stop()

    def _stop(self) -> None:
        self.was_asked = True
        self.stopping.set()
        self._wake_main()

    def fail(self, reason: str) -> None:
        """Have the command end with an error, from any thread."""
        if self.stopping.is_set():
            return
        self._failure = reason
        self.stopping.set()
        self._wake_main()

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """Have a stop end the main thread's wait for something else, a display of a run for instance.

        :raises KeyboardInterrupt: a signal came, or a part of the command failed.
        """
        self._interrupts = True
        try:
            if self.stopping.is_set():
                raise KeyboardInterrupt
            yield
        finally:
            self._interrupts = False

    def service_failed(self, service: Service) -> None:
        """Have the command end because one of its threads died."""
        self.fail(f"{service.name} died: {service.failure}")

    def raise_failure(self) -> None:
        """End the command with an error if a part of it failed.

        :raises PyocoServerError: it did.
        """
        if self._failure is not None:
            raise PyocoServerError(self._failure)

    def wait(self) -> None:
        """Wait until the command is to end."""
        self.stopping.wait()

    def _take(self, number: int) -> None:
        """Take a signal, on the thread that reads them."""
        if number not in self._numbers:
            return
        with self._lock:
            if self._own_count:
                self._own_count -= 1
                return
        is_first, self._first_may_come = self._first_may_come, False
        if self.stopping.is_set() and not is_first and self.on_second is not None:
            self.on_second()
        self._stop()

    def _wake_main(self) -> None:
        """End what the main thread waits for; the kernel may have given the signal to another thread."""
        if self._interrupts:
            with self._lock:
                self._own_count += 1
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal in the main thread: nothing, unless it has asked to be interrupted."""
        if self._interrupts:
            self._interrupts = False
            raise KeyboardInterrupt
