"""A service manager's ear: a real datagram socket, as systemd gives one to each service."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.waiting import PATIENCE_SEC, eventually

#: A folder whose module Python loads at its start; it blocks the thread named by BLOCKED_THREAD when SIGUSR1 comes.
BLOCKING = Path(__file__).with_name("blocking")


class Manager:
    """Hears what one process says to its service manager.

    :param watchdog_sec: it expects a sign of life at least so often.
    """

    def __init__(self, address: str, watchdog_sec: float) -> None:
        self.watchdog_sec = watchdog_sec
        self.env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(watchdog_sec * 1e6))}
        #: When each assignment was heard, by the monotonic clock.
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        while message := self._socket.recv(65_536):
            self.heard += [(time.monotonic(), line) for line in message.decode().splitlines()]

    def close(self) -> None:
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as own:
            own.sendto(b"", self._socket.getsockname())
        self._thread.join(PATIENCE_SEC)
        self._socket.close()

    def wait_for(self, found: Callable[[str], bool] | str) -> str:
        """Wait for an assignment, as it is or by what it fulfils, and give it."""

        def look() -> str | None:
            fits = found if callable(found) else found.__eq__
            return next((line for _, line in list(self.heard) if fits(line)), None)

        return str(eventually(look, what=f"{found} among what was heard", timeout_sec=PATIENCE_SEC))

    def says(self, line: str) -> bool:
        return any(heard == line for _, heard in list(self.heard))

    def silences(self, since: float) -> list[float]:
        """Give the seconds between signs of life since a moment, by the monotonic clock, and those after the last."""
        moments = [since, *(at for at, line in list(self.heard) if line == "WATCHDOG=1" and at > since)]
        return [later - sooner for sooner, later in zip(moments, [*moments[1:], time.monotonic()], strict=True)]

    def gives_up(self, since: float) -> bool:
        """Say whether it would have ended the process by now."""
        return max(self.silences(since)) > self.watchdog_sec


@contextlib.contextmanager
def listening(address: str, *, watchdog_sec: float = 20.0) -> Iterator[Manager]:
    """Listen for one process.

    :param address: a path, or ``@`` and a name.
    """
    manager = Manager(address, watchdog_sec)
    try:
        yield manager
    finally:
        manager.close()
