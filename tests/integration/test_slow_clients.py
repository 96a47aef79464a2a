"""Clients that do not let their requests come, or do it byte by byte."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import requests

from pyoco_server.gateway import channel
from tests.support.gateway import LocalGateway
from tests.support.waiting import eventually

HEAD = b"POST /runs HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n"


def drip(gateway: LocalGateway, begin: bytes, piece: bytes, pause_sec: float, count: int) -> bytes:
    """Send the beginning of a request and then piece after piece, until there is an answer; gives all of it."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        connection.sendall(begin)
        connection.settimeout(pause_sec)
        for _ in range(count):
            try:
                answer = connection.recv(65536)
                break
            except TimeoutError:
                connection.sendall(piece)
        else:
            connection.settimeout(30)
            answer = connection.recv(65536)
        connection.settimeout(30)
        # Pieces that come after the answer make the gateway's end of the connection a reset one.
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                answer += more
        return answer


@pytest.mark.parametrize("begin", [b"GET /runs HTT", HEAD, HEAD + b"{"], ids=["head", "no body", "body"])
def test_a_request_that_comes_byte_by_byte_is_given_up(
    shared: LocalGateway, monkeypatch: pytest.MonkeyPatch, begin: bytes
) -> None:
    monkeypatch.setattr(channel, "GRACE_SEC", 0.5)
    head, _, body = drip(shared, begin, b" ", 0.1, 1_000).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.0 408 ", b"HTTP/1.1 408 ")), head
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == 408


def test_a_slow_request_that_goes_on_is_waited_for(shared: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "GRACE_SEC", 0.5)
    monkeypatch.setattr(channel, "MIN_BYTES_PER_SEC", 10)
    head = HEAD.replace(b"Host: x", b"Host: x\r\nConnection: close")
    body = b'{"flow_name": "main"}'.ljust(400)
    answer = drip(shared, head + body, b" " * 400, 0.1, 19)
    assert answer.startswith(b"HTTP/1.1 200 "), answer


@pytest.mark.long
def test_the_time_of_the_request_before_does_not_count(shared: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "GRACE_SEC", 4.5)
    run_id = shared.submit()
    with socket.create_connection(("127.0.0.1", shared.port), timeout=30) as connection:
        # Both in one packet: the second one's beginning is received with the first.
        connection.sendall(f"GET /runs/{run_id}?wait=5 HTTP/1.1\r\nHost: x\r\n\r\nGET /hea".encode())
        first = b""
        while b"\r\n\r\n" not in first or not first.endswith(b"}\n"):
            more = connection.recv(65536)
            assert more, first
            first += more
        assert first.startswith(b"HTTP/1.1 200 ") and b" 408 " not in first
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            # The gateway looks twice meanwhile.
            connection.recv(1)
        connection.settimeout(30)
        connection.sendall(b"lth HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while more := connection.recv(65536):
            received += more
    assert b'"ok"' in received and b" 408 " not in received


def test_connections_that_bring_nothing_keep_nobody_out(
    serve: Callable[..., LocalGateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "GRACE_SEC", 600.0)
    gateway = serve(PYOCO_MAX_WATCHES="0")
    # More than a gateway without watches takes.
    count = 300
    with ExitStack() as open_ones:
        for number in range(count):
            connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30))
            connection.sendall((b"", b"GET /hea", HEAD)[number % 3])
        assert requests.get(f"{gateway.url}/health", timeout=30).status_code == 200


def test_an_upload_that_goes_on_is_not_closed_for_those_that_bring_nothing(serve: Callable[..., LocalGateway]) -> None:
    gateway = serve(PYOCO_MAX_WATCHES="0")
    body = b'{"flow_name": "main"}'
    with ExitStack() as open_ones:
        upload = open_ones.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30))
        upload.sendall(HEAD + body + b" " * 4_000)
        for _ in range(300):
            open_ones.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30))
        eventually(
            lambda: requests.get(f"{gateway.url}/health", timeout=30).status_code == 200, what="an answer among them"
        )
        upload.sendall(b" " * (4_000 - len(body)))
        assert upload.recv(65536).startswith(b"HTTP/1.1 200 ")
