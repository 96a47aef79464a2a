"""The threads for requests: how many there are, and what becomes of requests when there are too few."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.support.gateway import LocalGateway
from tests.support.held_answers import HeldAnswers
from tests.support.nats import NatsServer
from tests.support.waiting import PATIENCE_SEC, eventually

REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_threads_for_requests_begin_as_they_are_needed_and_are_bounded(nats: NatsServer) -> None:
    gateway = LocalGateway(nats, PYOCO_MAX_WATCHES="8")
    pool, bound = gateway.http_server.task_dispatcher, 40
    assert len(pool.threads) < 8
    gateway.http_server.application = held = HeldAnswers()
    with clients_of(gateway, bound + 5):
        held.wait(bound)
        eventually(lambda: len(pool.queue) == 5, what="requests that wait")
        assert len(pool.threads) == bound
        held.release()
    gateway.stop()
    assert not pool.threads


def test_where_no_thread_can_be_started_requests_wait_for_those_that_there_are(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = LocalGateway(nats)
    assert gateway.ask("GET", "/health").ok
    pool = gateway.http_server.task_dispatcher
    count = len(pool.threads)

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "start_new_thread", refuse)
    assert gateway.raw(REQUEST * 20 + LAST_REQUEST).count(b"HTTP/1.1 200 OK") == 21
    gateway.http_server.application = held = HeldAnswers()
    with clients_of(gateway, 20):
        eventually(lambda: len(pool.queue) == 20 - count, what="requests that wait")
        held.release()
    assert len(pool.threads) == count
    assert "this machine allows no more: can't start new thread" in caplog.text
    gateway.stop()


@contextlib.contextmanager
def clients_of(gateway: LocalGateway, count: int) -> Iterator[None]:
    """Have so many clients ask at once, all of which must have their answers in the end."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port))) for _ in range(count)]
        for client in clients:
            client.sendall(LAST_REQUEST)
        yield
        for client in clients:
            client.settimeout(PATIENCE_SEC)
            assert client.recv(100).startswith(b"HTTP/1.1 200")
