"""How much of what clients send, and of what they are answered, is in work at the same time.

What is read takes many times the room of its text: nine megabytes of JSON become 250 of Python objects. With twenty
clients who send that at once a gateway would take six gigabytes; so large bodies take turns, and with them large
answers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from pyoco_server.errors import TooMuchInWork

#: Smaller ones take no room: with all threads at work they are 2 MiB of text.
FREE_BYTES = 64 * 1024
#: An honest body of any size is in work for less than a second.
WAIT_SEC = 5.0
#: So many requests may wait, so that threads are left for those that need not.
MAX_WAITING = 16


class Room:
    """Bytes of text that may be in work; a body or an answer that is larger takes all of them.

    :param wait_sec: how long one waits for its turn.
    """

    def __init__(self, max_bytes: int, wait_sec: float = WAIT_SEC) -> None:
        self._max_bytes = self._free_bytes = max_bytes
        self._wait_sec = wait_sec
        self._waiting_count = 0
        self._changed = threading.Condition()

    def take(self, size_bytes: int) -> int:
        """Take room for so much; gives how much, for :meth:`release`.

        :raises TooMuchInWork: there is none in time.
        """
        if size_bytes <= FREE_BYTES:
            return 0
        size_bytes = min(size_bytes, self._max_bytes)
        with self._changed:
            if self._free_bytes < size_bytes and not self._wait_for(size_bytes):
                raise TooMuchInWork
            self._free_bytes -= size_bytes
        return size_bytes

    def release(self, size_bytes: int) -> None:
        """Give room back."""
        if not size_bytes:
            # As after most requests: nobody waits for that.
            return
        with self._changed:
            self._free_bytes += size_bytes
            self._changed.notify_all()

    @contextlib.contextmanager
    def held(self, size_bytes: int) -> Iterator[None]:
        """Take room for as long as the ``with`` block lasts; see :meth:`take`."""
        taken_bytes = self.take(size_bytes)
        try:
            yield
        finally:
            self.release(taken_bytes)

    def _wait_for(self, size_bytes: int) -> bool:
        if self._waiting_count >= MAX_WAITING:
            return False
        self._waiting_count += 1
        try:
            return self._changed.wait_for(lambda: self._free_bytes >= size_bytes, self._wait_sec)
        finally:
            self._waiting_count -= 1
