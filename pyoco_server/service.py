"""Threads with a name, a beginning and an end.

:class:`Service` is the only creator of threads of this package (the pool of the WSGI server apart).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Deadline:
    """One absolute moment that several waits share, so that their sum has a bound.

    :param seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def remaining_sec(self) -> float:
        return max(0.0, self._at - time.monotonic())

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self._at


class Service:
    """A thread that runs :meth:`run` until it is stopped.

    ``start`` returns when the thread runs; ``stop`` returns when it has ended or the deadline has passed, works
    for a service that was never started, and works twice. A ``run`` that raises is logged and reported to
    ``on_failure``: a process that has lost one of its threads must not look alive.

    :param name: the thread's name, as it stands in logs.
    :param on_failure: called once, from the dying thread, with the service.
    """

    #: Seconds for which it may go without a :meth:`beat` before it counts as stuck; ``None`` = for as long as it likes.
    patience_sec: float | None = None

    def __init__(self, name: str, on_failure: Callable[[Service], None] | None = None) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat_at = 0.0

    def start(self) -> None:
        """Start the thread.

        :raises RuntimeError: it was started before; a service lives once.
        """
        if self._thread is not None:
            raise RuntimeError(f"service {self.name} was started twice")
        self.beat()
        self._thread = threading.Thread(target=self._main, name=self.name, daemon=True)
        self._thread.start()

    def request_stop(self) -> None:
        """Ask the thread to end; returns at once, so that several services can be asked before any is awaited."""
        self._stopping.set()
        self.wake()

    def stop(self, deadline: Deadline) -> bool:
        """Ask the thread to end and wait for it.

        :return: whether it has ended.
        """
        self.request_stop()
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(deadline.remaining_sec)
        if self._thread.is_alive():
            logger.warning("%s did not stop in time", self.name)
            return False
        return True

    def pause(self, seconds: float) -> bool:
        """Wait, but no longer than until the stop.

        :return: whether the service is to stop.
        """
        return self._stopping.wait(seconds)

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def beat(self) -> None:
        """Note that the thread has come round once more; services with a patience call it in each of their turns."""
        self._beat_at = time.monotonic()

    @property
    def is_stuck(self) -> bool:
        """Whether the thread is there and has not come round for longer than it may."""
        if self.patience_sec is None or self._thread is None or not self._thread.is_alive():
            return False
        return time.monotonic() - self._beat_at > self.patience_sec

    def wake(self) -> None:
        """Interrupt what :meth:`run` waits for besides the stop event; services that wait elsewhere override it."""

    def run(self) -> None:
        """Do the work until :attr:`is_stopping`."""
        raise AssertionError(f"{type(self).__name__} has nothing to run")

    def _main(self) -> None:
        try:
            self.run()
        except BaseException as exc:
            self.failure = exc
            logger.critical("%s died", self.name, exc_info=True)
            if self._on_failure is not None:
                self._on_failure(self)
