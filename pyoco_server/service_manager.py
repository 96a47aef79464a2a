"""What systemd is told of this process: that it is ready, what it does, that it makes progress, that it stops.

Nothing is sent where no ``NOTIFY_SOCKET`` stands in the environment.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5).
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from pyoco_server.logs import RateLimit
from pyoco_server.service import Service

logger = logging.getLogger(__name__)

#: A message that systemd does not take within this time is left out: the next one says the same.
_SEND_SEC = 1.0
#: How often it is looked whether the process is ready.
_LOOK_SEC = 0.2
#: How often the state is told afterwards; four times within the watchdog's time where that is more often.
_TELL_SEC = 5.0
_TICKS_A_WATCHDOG = 4
#: How much more time a start or a stop asks for at a time, as long as it makes progress.
_MORE_TIME = "EXTEND_TIMEOUT_USEC=30000000"


class NotifySocket:
    """The socket at which systemd listens to this process; silent where there is none.

    :param address: a path, or ``@`` and a name without a file; empty = there is none.
    :param watchdog_sec: systemd ends the process after such a silence; 0 = never.
    """

    def __init__(self, address: str = "", watchdog_sec: float = 0.0) -> None:
        self._address = address
        self.watchdog_sec = watchdog_sec if address else 0.0
        self._log_limit = RateLimit()

    @classmethod
    def from_env(cls) -> NotifySocket:
        """Take the variables out of the environment, so that no process that is started later can speak in our name."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        # Another process's: it started this one without clearing up.
        is_ours = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if not address.startswith(("/", "@")):
            return cls()
        return cls(address, int(microseconds) / 1e6 if is_ours and microseconds.isdecimal() else 0.0)

    @property
    def is_there(self) -> bool:
        return bool(self._address)

    def send(self, *assignments: str) -> None:
        """Send assignments such as ``READY=1``, all in one message."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.settimeout(_SEND_SEC)
                sending.sendto("\n".join(assignments).encode(), address)
        except OSError as exc:
            if self._log_limit.allows("send"):
                logger.warning("systemd does not listen at %s: %s", self._address, exc)


class Watched(Protocol):
    """A process that is reported on; both are called on the reporter's thread at any moment between start and end."""

    def state(self) -> tuple[bool, str]:
        """Give whether it can do what it is there for, and a few words on what it does; not asked once it stops."""

    def stuck(self) -> list[str]:
        """Give the names of the threads that should have come round and have not."""


class Reporter(Service):
    """Tells systemd about this process.

    The watchdog is fed only while no thread is stuck, and so is a start or a stop given more time: it may take as long
    as it likes if it makes progress, a start that waits for NATS as well as a stop whose runs go on.
    """

    def __init__(self, notify: NotifySocket, watched: Watched, on_failure: Callable[[Service], None]) -> None:
        super().__init__("pyoco-reporter", on_failure)
        self._notify = notify
        self._watched = watched
        self._lock = threading.Lock()
        self._is_ready = False
        self._has_begun_to_stop = False
        self._words = ""
        self._log_limit = RateLimit()

    def start(self) -> None:
        """Begin to report, where somebody listens."""
        if not self._notify.is_there:
            return
        if self._notify.watchdog_sec:
            with contextlib.suppress(OSError, ValueError):
                # The watchdog's signal is SIGABRT: the journal then shows where each thread was.
                faulthandler.enable()
        super().start()

    def stopping(self, words: str) -> None:
        """Say that the process begins to stop; its state is not asked any more when this returns.

        :param words: what it does meanwhile.
        """
        with self._lock:
            self._has_begun_to_stop = True
        self._notify.send("STOPPING=1", f"STATUS={words}", _MORE_TIME)

    def run(self) -> None:
        tell_sec = _TELL_SEC
        if self._notify.watchdog_sec:
            tell_sec = min(tell_sec, self._notify.watchdog_sec / _TICKS_A_WATCHDOG)
        while True:
            self._tell()
            if self.pause(tell_sec if self._is_ready or self._has_begun_to_stop else min(_LOOK_SEC, tell_sec)):
                return

    def _tell(self) -> None:
        lines = []
        with self._lock:
            if not self._has_begun_to_stop:
                is_ready, words = self._watched.state()
                if is_ready and not self._is_ready:
                    lines.append("READY=1")
                    self._is_ready = True
                if words != self._words:
                    lines.append(f"STATUS={words}")
                    self._words = words
            is_passing = self._has_begun_to_stop or not self._is_ready
        stuck = self._watched.stuck()
        if not stuck:
            lines.append("WATCHDOG=1")
            if is_passing:
                lines.append(_MORE_TIME)
        elif self._log_limit.allows("stuck"):
            logger.error("%s does not come round any more", ", ".join(stuck))
        if lines:
            self._notify.send(*lines)
