"""Clients that do not let their requests come, or do not take their answers, or do either byte by byte."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import pytest
import requests

from pyoco_server.gateway import channel
from pyoco_server.service import Deadline
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.waiting import PATIENCE_SEC, eventually

HEAD = b"POST /runs HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n"
#: More than the kernel keeps for a client that reads nothing: as an answer that waitress keeps, too, and one of which
#: it does not take the rest before the client has read.
UNREAD = {"kept": 500_000, "not kept": 5_000_000}


def answer_with(gateway: LocalGateway, size: int) -> None:
    """Have whatever is asked answered with so many bytes, of which the kernel keeps few."""

    def application(environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", str(size))])
        return (b"x" * 10_000 for _ in range(size // 10_000))

    gateway.http_server.application = application
    gateway.http_server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def ask_and_not_read(gateway: LocalGateway) -> socket.socket:
    """Connect, with room for few bytes, and ask for something."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", gateway.port))
    connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection


def wait_until_behind(gateway: LocalGateway, client: socket.socket) -> None:
    """Wait until something that a client has not taken is kept for it."""

    def is_behind() -> bool:
        end = gateway.channel_of(client)
        return end is not None and end.is_behind

    eventually(is_behind, what="an answer that is not taken")


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


@pytest.mark.parametrize("size", UNREAD.values(), ids=UNREAD)
def test_an_answer_that_nobody_reads_is_given_up(
    local: LocalGateway, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(channel, "STALL_SEC", 1.0)
    answer_with(local, size)
    with contextlib.closing(ask_and_not_read(local)) as client:
        wait_until_behind(local, client)
        eventually(lambda: local.channel_of(client) is None, what="the end of its connection")
        eventually(lambda: not local.busy_threads, what="the end of its thread's work")


def test_a_thread_that_waits_for_a_client_to_read_does_not_outlive_the_gateway(nats: NatsServer) -> None:
    gateway = LocalGateway(nats)
    answer_with(gateway, UNREAD["not kept"])
    with contextlib.closing(ask_and_not_read(gateway)) as client:
        wait_until_behind(gateway, client)
        gateway.server.stop(Deadline(2))
        eventually(lambda: not gateway.http_server.task_dispatcher.threads, what="the end of the threads")
    gateway.stop()


def test_an_answer_that_is_read_byte_by_byte_is_given_up(local: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "STALL_SEC", 0.5)
    monkeypatch.setattr(channel, "MIN_BYTES_PER_SEC", 1_000_000)
    answer_with(local, UNREAD["not kept"])
    with contextlib.closing(ask_and_not_read(local)) as client:
        client.settimeout(PATIENCE_SEC)
        wait_until_behind(local, client)

        def is_closed() -> bool:
            with contextlib.suppress(ConnectionResetError):
                client.recv(5_000)
            return local.channel_of(client) is None

        eventually(is_closed, what="the end of its connection")


@pytest.mark.long
def test_an_answer_that_is_read_slowly_comes_whole(local: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "STALL_SEC", 3.0)
    answer_with(local, UNREAD["kept"])
    began_at, size = time.monotonic(), 0
    with contextlib.closing(ask_and_not_read(local)) as client:
        client.settimeout(PATIENCE_SEC)
        while size < UNREAD["kept"]:
            # So that the whole takes longer than nothing at all may be taken.
            time.sleep(max(0.0, began_at + 5 * size / UNREAD["kept"] - time.monotonic()))
            more = client.recv(20_000)
            assert more, f"cut after {size} bytes"
            size += len(more)


def test_answers_that_nobody_reads_keep_nobody_out(
    serve: Callable[..., LocalGateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "STALL_SEC", 600.0)
    gateway = serve(PYOCO_MAX_WATCHES="0")
    answer_with(gateway, UNREAD["kept"])
    with ExitStack() as open_ones:
        for _ in range(300):
            open_ones.enter_context(contextlib.closing(ask_and_not_read(gateway)))
        answer = requests.get(f"{gateway.url}/large", timeout=30)
        assert len(answer.content) == UNREAD["kept"]
