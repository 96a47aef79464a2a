"""A way to NATS that shuts between any two messages of the program that goes by it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator

from tests.support.nats import NatsServer

#: A line that a client sends; a message follows it, of the size that stands at its end.
_PUBLISHES = re.compile(rb"H?PUB (\S+) .*?(\d+)\r\n")


class NatsProxy:
    """Passes on what comes, and counts the messages whose subjects begin in one of several ways.

    A subject is counted once: what is not answered in time is sent again.
    """

    def __init__(self, nats: NatsServer, counted: tuple[str, ...]) -> None:
        self._nats = nats
        self._counted = tuple(word.encode() for word in counted)
        self._left: int | None = None
        self._seen: set[bytes] = set()
        self._is_open = threading.Event()
        self._is_open.set()
        self._is_shut = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def shut_after(self, count: int) -> None:
        """Pass on so many more of the counted messages, and then nothing until :meth:`open`: neither the answer to the
        last one nor the next one."""
        self._is_shut.clear()
        self._seen.clear()
        self._left = count

    def wait_until_shut(self) -> None:
        assert self._is_shut.wait(30), "so many messages were not sent"

    def open(self) -> None:
        """Take new connections; those that were held up end, with all that was on its way."""
        self._left = None
        self._is_open.set()

    def close(self) -> None:
        self._listener.close()
        self.open()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._nats.port))
                for work, ends in ((self._pass_on, (client, server)), (self._pass_back, (server, client))):
                    threading.Thread(target=work, args=ends, daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            for part, is_counted in self._parts(client):
                if is_counted and self._left == 0:
                    self._shut()
                if self._has_been_shut():
                    return
                if is_counted and self._left == 1:
                    # Before it is sent, so that its answer does not slip through.
                    self._left = 0
                    self._is_open.clear()
                    server.sendall(part)
                    self._is_shut.set()
                else:
                    self._left = self._left - 1 if is_counted and self._left else self._left
                    server.sendall(part)

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        with client, server, contextlib.suppress(OSError):
            while (data := server.recv(65536)) and not self._has_been_shut():
                client.sendall(data)

    def _shut(self) -> None:
        self._is_open.clear()
        self._is_shut.set()

    def _has_been_shut(self) -> bool:
        """Wait as long as nothing may pass, and say whether that was so."""
        if self._is_open.is_set():
            return False
        self._is_open.wait()
        return True

    def _parts(self, client: socket.socket) -> Iterator[tuple[bytes, bool]]:
        """Give what a client sends, line by line, each message with its line; and whether it is counted."""
        with client.makefile("rb") as lines:
            for line in lines:
                found = _PUBLISHES.fullmatch(line)
                if found is None:
                    yield line, False
                else:
                    is_counted = found[1].startswith(self._counted) and found[1] not in self._seen
                    self._seen.add(found[1])
                    yield line + lines.read(int(found[2]) + 2), is_counted
