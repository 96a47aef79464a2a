"""HTTP clients that ask as fast as they are answered, on one thread: beside what they measure they cost little."""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import statistics
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: For one answer, of a gateway of 0.5.1 that reads every run for each list too.
_TIMEOUT_SEC = 300.0


@dataclass
class Load:
    """What came of a load.

    :param elapsed_sec: from the first request to the last answer.
    :param latencies_sec: of each request, from the moment it is sent to its whole answer.
    """

    elapsed_sec: float = 0.0
    latencies_sec: list[float] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(self.latencies_sec)

    @property
    def per_sec(self) -> float:
        return self.count / self.elapsed_sec

    def quantile_ms(self, share: float) -> float:
        """Give the latency that this share of the requests did not exceed."""
        ordered = sorted(self.latencies_sec)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

    @property
    def median_ms(self) -> float:
        return statistics.median(self.latencies_sec) * 1000


def request(
    url: str, path: str, body: bytes = b"", *, kind: str = "application/json", method: str = "POST", **headers: str
) -> bytes:
    """Write a request as it goes over the wire.

    :param headers: more of them, with ``_`` for ``-``.
    """
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {kind}"] if body else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Client:
    """One kept-alive connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=_TIMEOUT_SEC)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._sent_at = 0.0

    def send(self, message: bytes) -> None:
        self._received = b""
        self._sent_at = time.perf_counter()
        self.socket.sendall(message)

    def receive(self) -> float | None:
        """Take what has come; gives the seconds since the request when the answer is whole.

        :raises RuntimeError: the request was refused or not answered, so there is nothing to measure.
        """
        received = self.socket.recv(65536)
        if not received:
            raise RuntimeError(f"the load was cut off after {self._received[:400]!r}")
        self._received += received
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if end else None
        if not end or (length is not None and len(body) < int(length[1])):
            return None
        if b" 200 " not in head[:16]:
            raise RuntimeError(f"the load was refused: {self._received[:400]!r}")
        return time.perf_counter() - self._sent_at


def load(url: str, message: bytes, *, clients: int, seconds: float) -> Load:
    """Have every client send the same request again as soon as it has an answer, until the time is over.

    :raises RuntimeError: the gateway refuses it, goes away or falls silent.
    """
    result = Load()
    with contextlib.ExitStack() as held:
        selector = held.enter_context(selectors.DefaultSelector())
        connections = []
        for _ in range(clients):
            connections.append(_Client(url))
            held.enter_context(connections[-1].socket)
        began_at = time.perf_counter()
        for client in connections:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send(message)
        while selector.get_map():
            ready = selector.select(_TIMEOUT_SEC)
            if not ready:
                raise RuntimeError(f"no answer has come for {_TIMEOUT_SEC:g} s")
            for key, _ in ready:
                took_sec = key.data.receive()
                if took_sec is None:
                    continue
                result.latencies_sec.append(took_sec)
                if time.perf_counter() - began_at < seconds:
                    key.data.send(message)
                else:
                    selector.unregister(key.fileobj)
        result.elapsed_sec = time.perf_counter() - began_at
    return result
