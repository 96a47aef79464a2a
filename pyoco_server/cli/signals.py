"""How a long-lived command is told to stop: the handlers only set flags, the main thread acts."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from pyoco_server.errors import PyocoServerError
from pyoco_server.service import Service

#: How long a signal may go unnoticed that came to another thread than the main one.
_LOOK_SEC = 0.5


class StopSignals:
    """Waits for SIGINT or SIGTERM, for a part that fails, or for the work to be done."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        #: Whether a signal asked for the end, and not a part of the command itself.
        self.was_signalled = False
        #: Called, from the signal handler, when a second signal says that it means now.
        self.on_second: Callable[[], None] | None = None
        self._failure: str | None = None
        self._interrupts = False
        self._is_waking = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # A terminal that closes means a stop, unless nohup has said otherwise. SIGINT is different: a shell
            # without job control has each command behind an & ignore it, and Ctrl-C is then sent by kill.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    def fail(self, reason: str) -> None:
        """Have the command end with an error, from any thread."""
        if self.stopping.is_set():
            return
        self._failure = reason
        self.stopping.set()
        if self._interrupts:
            self._is_waking = True
            # What the main thread waits for may not come any more.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

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
        while not self.stopping.wait(_LOOK_SEC):
            # The kernel may give a signal to another thread. That does not wake this one, which alone runs the handler.
            pass

    def _take(self, number: int, frame: FrameType | None) -> None:
        is_ours, self._is_waking = self._is_waking, False
        if not is_ours:
            if self.stopping.is_set() and self.on_second is not None:
                self.on_second()
            self.was_signalled = True
            self.stopping.set()
        if self._interrupts:
            self._interrupts = False
            raise KeyboardInterrupt
