"""What a worker tells over HTTP about itself, to load balancers, container engines and Prometheus; off by default.

It is not a server for the world: it reads no body, keeps no connection, and gives each one two seconds, so that
whatever clients do costs the worker nothing.
"""

from __future__ import annotations

import contextlib
import json
import platform
import resource
import selectors
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import pyoco_server
from pyoco_server.errors import InvalidCommand
from pyoco_server.service import Deadline, Service

#: For a request to come and its answer to go.
_REQUEST_SEC = 2.0
_MAX_HEAD_BYTES = 8192
#: Connections at the same time; who comes later waits for one of them.
_MAX_CONNECTIONS = 32
_TURN_SEC = 0.5
_JSON = "application/json"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Condition:
    """How a worker is doing.

    :ivar is_serving: whether it has begun, and has not been told to stop.
    :ivar ended_counts: runs that have ended here, by their status.
    """

    is_serving: bool
    is_draining: bool
    is_connected: bool
    last_error: str | None
    slot_count: int
    busy_count: int
    ended_counts: dict[str, int]

    @property
    def is_ready(self) -> bool:
        return self.is_serving and self.is_connected and not self.is_draining


class Patient(Protocol):
    """A worker that can be asked how it is, from any thread at any moment."""

    def condition(self) -> Condition: ...

    def stuck(self) -> list[str]:
        """Give the names of the threads that do not come round any more."""


@dataclass
class _Visit:
    """A connection: what has come of its request, and until when it may last."""

    connection: socket.socket
    head: bytearray = field(default_factory=bytearray)
    deadline: Deadline = field(default_factory=lambda: Deadline(_REQUEST_SEC))


class HealthServer(Service):
    """Answers ``/health``, ``/ready`` and ``/metrics`` on one thread.

    :param address: ``HOST:PORT``, listened at from now on.
    :raises InvalidCommand: that is in use, or not of this machine.
    """

    def __init__(self, address: str, worker: Patient, on_failure: Callable[[Service], None]) -> None:
        super().__init__("pyoco-health", on_failure)
        self._worker = worker
        host, _, port = address.rpartition(":")
        try:
            family, _, _, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
            self._listener = socket.create_server(place[:2], family=family)
        except OSError as exc:
            raise InvalidCommand(
                f"The worker cannot tell its health at {address}: {exc.strerror or exc}. "
                "Stop what uses it, or give another --health-listen."
            ) from exc
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._visits: dict[int, _Visit] = {}

    def run(self) -> None:
        while not self.is_stopping:
            for key, _ in self._selector.select(_TURN_SEC):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(self._visits[key.fd])
            for visit in [visit for visit in self._visits.values() if visit.deadline.has_passed]:
                self._leave(visit)
        for visit in list(self._visits.values()):
            self._leave(visit)
        self._listener.close()
        self._selector.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # Out of descriptors, for instance: whoever waits there would have select() return at once, for ever.
            self.pause(_TURN_SEC)
            return
        connection.setblocking(False)
        self._visits[connection.fileno()] = _Visit(connection)
        self._selector.register(connection, selectors.EVENT_READ)
        if len(self._visits) == _MAX_CONNECTIONS:
            self._selector.unregister(self._listener)

    def _read(self, visit: _Visit) -> None:
        try:
            data = visit.connection.recv(_MAX_HEAD_BYTES)
            visit.head += data
            if data and b"\r\n\r\n" not in visit.head and len(visit.head) < _MAX_HEAD_BYTES:
                return
            # It is small enough for the buffer of a connection on which nothing was sent yet.
            visit.connection.send(self._answer(bytes(visit.head)))
        except OSError:
            pass
        self._leave(visit)

    def _leave(self, visit: _Visit) -> None:
        self._selector.unregister(visit.connection)
        if len(self._visits) == _MAX_CONNECTIONS:
            self._selector.register(self._listener, selectors.EVENT_READ)
        del self._visits[visit.connection.fileno()]
        visit.connection.close()

    def _answer(self, head: bytes) -> bytes:
        """Give the whole answer to a request, of which the first line alone counts."""
        method, _, rest = head.decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        pages = {"/health": self._health, "/ready": self._ready, "/metrics": self._metrics}
        if path not in pages:
            return _response(HTTPStatus.NOT_FOUND, _problem(HTTPStatus.NOT_FOUND, f"Ask for {', '.join(pages)}."))
        if method not in ("GET", "HEAD"):
            refusal = HTTPStatus.METHOD_NOT_ALLOWED
            return _response(refusal, _problem(refusal, "Ask with GET."), headers=["Allow: GET, HEAD"])
        return _response(*pages[path](), has_body=method == "GET")

    def _health(self) -> tuple[HTTPStatus, str, str]:
        stuck = self._worker.stuck()
        if stuck:
            return HTTPStatus.SERVICE_UNAVAILABLE, json.dumps({"status": "stuck", "threads": stuck}), _JSON
        return HTTPStatus.OK, json.dumps({"status": "ok"}), _JSON

    def _ready(self) -> tuple[HTTPStatus, str, str]:
        found = self._worker.condition()
        document: dict[str, Any] = {
            "status": "ready" if found.is_ready else "not ready",
            "nats": {"connected": found.is_connected, "last_error": found.last_error},
            "slots": {"total": found.slot_count, "busy": found.busy_count},
            "draining": found.is_draining,
        }
        status = HTTPStatus.OK if found.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return status, json.dumps(document), _JSON

    def _metrics(self) -> tuple[HTTPStatus, str, str]:
        return HTTPStatus.OK, "".join(f"{line}\n" for line in _series(self._worker.condition())), _TEXT


def _response(
    status: HTTPStatus, body: str, content_type: str = _JSON, *, headers: list[str] | None = None, has_body: bool = True
) -> bytes:
    content = body.encode()
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers = ["Retry-After: 1"]
    elif status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        content_type = "application/problem+json"
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Type: {content_type}"]
    lines += [f"Content-Length: {len(content)}", "Connection: close", *(headers or []), "", ""]
    return "\r\n".join(lines).encode() + (content if has_body else b"")


def _problem(status: HTTPStatus, detail: str) -> str:
    return json.dumps({"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail})


def _series(found: Condition) -> Iterator[str]:
    """Give the metrics in the text format 0.0.4, line by line."""
    yield from _head("pyoco_worker_runs_total", "counter", "Runs that have ended in this worker, by status.")
    for status, count in sorted(found.ended_counts.items()):
        yield f'pyoco_worker_runs_total{{status="{status}"}} {count}'
    gauges = {
        "pyoco_worker_slots": ("Runs that this worker can execute at the same time.", found.slot_count),
        "pyoco_worker_slots_busy": ("Runs that it executes at the moment.", found.busy_count),
        "pyoco_worker_ready": ("Whether it takes runs: 1 or 0.", int(found.is_ready)),
        "pyoco_worker_draining": ("Whether it takes no more and is about to end: 1 or 0.", int(found.is_draining)),
    }
    for name, (help, value) in gauges.items():
        yield from _head(name, "gauge", help)
        yield f"{name} {value}"
    yield from _head("pyoco_build_info", "gauge", "Version of this worker.")
    yield f'pyoco_build_info{{version="{pyoco_server.__version__}",python="{platform.python_version()}"}} 1'
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        yield from _head("process_resident_memory_bytes", "gauge", "Memory of this worker, without its runners.")
        yield f"process_resident_memory_bytes {pages * resource.getpagesize()}"


def _head(name: str, kind: str, help: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
