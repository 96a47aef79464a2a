"""All connections of the HTTP server behind one descriptor.

Left to itself waitress asks every connection what it waits for, and tells the kernel anew, whenever it waits: with
hundreds of open watches that costs more than to answer a request. Here the kernel is told what has changed.
"""

from __future__ import annotations

import select
import selectors
from collections import deque
from typing import Any

from waitress import wasyncore

_POLL_FLAGS = (
    (selectors.EVENT_READ, select.POLLIN),
    (selectors.EVENT_WRITE, select.POLLOUT),
)


class Sockets:
    """The sockets of one server.

    One thread receives: it waits for :meth:`fileno`, which can be read when one of them can go on, and calls
    :meth:`turn` then. It alone calls the rest, too, as long as it receives, but for :meth:`look_again`.

    :param channels: waitress's own map, by file descriptor: the listener, the trigger and every connection.
    """

    def __init__(self, channels: dict[int, Any]) -> None:
        self._channels = channels
        self._selector = selectors.DefaultSelector()
        #: Of each socket the kernel has been told of: whose it is, and what that waits for.
        self._told: dict[int, tuple[Any, int]] = {}
        #: Sockets that may have begun to wait for something else.
        self._changed: deque[int] = deque()

    def fileno(self) -> int:
        """Give the descriptor by which the kernel says that one of them can go on."""
        return self._selector.fileno()

    def look_again(self, channel: Any) -> bool:
        """Take note that a connection may wait for something else by now; from any thread.

        :return: whether it does, so that the kernel has to be told.
        """
        fd = channel._fileno
        if fd is None or self._told.get(fd) == (channel, _wish(channel)):
            return False
        self._changed.append(fd)
        return True

    def look_at_all(self) -> None:
        """Take note that any of them may wait for something else by now."""
        self._changed.extend({**self._channels, **self._told})

    def turn(self) -> None:
        """Let those go on that can."""
        self.tell()
        for key, events in self._selector.select(0):
            # It may have been closed on behalf of one before it.
            if self._channels.get(key.fd) is key.data:
                wasyncore.readwrite(key.data, sum(flag for event, flag in _POLL_FLAGS if events & event))
            self._changed.append(key.fd)
        self.tell()

    def tell(self) -> None:
        """Tell the kernel what has changed."""
        while self._changed:
            self._tell(self._changed.popleft())

    def close(self) -> None:
        self._selector.close()

    def _tell(self, fd: int) -> None:
        """Tell the kernel what a socket waits for now, where that is new."""
        channel = self._channels.get(fd)
        known, told = self._told.get(fd, (None, 0))
        if known is not channel and told:
            # The number stood for a connection that was closed.
            self._selector.unregister(fd)
            told = 0
        if channel is None:
            self._told.pop(fd, None)
            return
        wish = _wish(channel)
        while True:
            self._change(fd, channel, told, wish)
            # From here on look_again() compares with it. What changed before would be lost: nobody has been told.
            self._told[fd] = (channel, wish)
            told, wish = wish, _wish(channel)
            if wish == told:
                return

    def _change(self, fd: int, channel: Any, told: int, wish: int) -> None:
        if wish == told:
            return
        if not told:
            self._selector.register(fd, wish, channel)
        elif not wish:
            self._selector.unregister(fd)
        else:
            self._selector.modify(fd, wish, channel)


def _wish(channel: Any) -> int:
    """Say what a channel waits for."""
    reading = selectors.EVENT_READ if channel.readable() else 0
    # A listener says by it that it is one.
    return reading | (selectors.EVENT_WRITE if channel.writable() and not channel.accepting else 0)
