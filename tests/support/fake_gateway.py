"""An HTTP server of a few lines that answers as a test tells it to, for what a real gateway does not do on demand."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Callable[["Handler"], None]


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeGateway:
    """Answers each request with the next answer, the last one again and again, and keeps what was asked."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gateway: FakeGateway

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.gateway.requests.append(Request(self.command, url.path, parse_qs(url.query), headers, body))
        self.gateway.next_answer()(self)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


def json_answer(document: object, status: int = 200, kind: str = "application/json") -> Answer:
    return text_answer(json.dumps(document), status, kind)


def text_answer(text: str, status: int = 200, kind: str = "text/html", **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        content = text.encode()
        handler.send_response(status)
        handler.send_header("content-type", kind)
        handler.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def stream_answer(
    *pieces: bytes, chunked: bool = True, cut: bool = False, then: Callable[[], object] | None = None
) -> Answer:
    """Send an event stream piece by piece; ``cut`` ends a chunked one without its last chunk."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream; charset=utf-8")
        handler.send_header("transfer-encoding" if chunked else "connection", "chunked" if chunked else "close")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        if then is not None:
            then()
        if chunked and not cut:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = cut or not chunked

    return answer


def snapshot_event(status: str, updated_at: float, event_id: str | None = None) -> bytes:
    data = {"run_id": "r1", "ts": updated_at, "snapshot": {"status": status, "updated_at": updated_at}}
    lines = [f"id: {event_id}"] if event_id else []
    return "\n".join([*lines, "event: snapshot", f"data: {json.dumps(data)}", "", ""]).encode()


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up, as some tests want it, is no news."""


@contextlib.contextmanager
def fake_gateway() -> Iterator[FakeGateway]:
    """Serve on a port of its own."""
    fake = FakeGateway()
    handler = type("BoundHandler", (Handler,), {"gateway": fake})
    with Server(("127.0.0.1", 0), handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


def statuses(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"]["snapshot"]["status"] for event in events]
