"""Requests that no thread waits for: their connections, their order, their bounds, and the end of their gateway."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from pyoco_server.gateway import fast_lane
from pyoco_server.service import Deadline
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import PATIENCE_SEC, eventually

BODY = b'{"flow_name": "main"}'
SUBMISSION = b"POST /runs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ANSWER = re.compile(rb"HTTP/1\.[01] (\d+) [^\r]*\r\n(?:[^\r]+\r\n)*?Content-Length: (\d+)\r\n(?:[^\r]+\r\n)*\r\n")


def answers(received: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Part what came over a connection."""
    found = []
    while received:
        head = ANSWER.match(received)
        assert head is not None, received
        end = head.end() + int(head[2])
        found.append((int(head[1]), json.loads(received[head.end() : end])))
        received = received[end:]
    return found


def connect(gateway: LocalGateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_SEC)


def in_work(gateway: LocalGateway) -> int:
    return len(gateway.http_server._lane._in_work)


def wait_for_work(gateway: LocalGateway, count: int) -> None:
    eventually(lambda: in_work(gateway) == count, what=f"{count} requests in work", timeout_sec=PATIENCE_SEC)


@pytest.mark.parametrize(
    "requests",
    [
        [SUBMISSION, SUBMISSION, LAST],
        [HEALTH, SUBMISSION, SUBMISSION, LAST],
        [SUBMISSION, HEALTH, SUBMISSION, LAST],
    ],
)
def test_requests_that_come_in_one_packet_are_answered_in_their_order(
    shared: LocalGateway, requests: list[bytes]
) -> None:
    told = [document["status"] for _, document in answers(shared.raw(b"".join(requests), timeout_sec=PATIENCE_SEC))]
    assert told == [{SUBMISSION: "PENDING", HEALTH: "ok", LAST: "ready"}[request] for request in requests]


def test_a_connection_serves_one_request_after_the_other(shared: LocalGateway) -> None:
    with connect(shared) as client:
        for _ in range(5):
            client.sendall(SUBMISSION)
            assert answers(client.recv(65536))[0][0] == 200


@pytest.mark.parametrize(
    ("version", "connection", "is_kept"),
    [("1.1", "", True), ("1.1", "close", False), ("1.0", "", False), ("1.0", "keep-alive", True)],
)
def test_a_connection_is_closed_where_the_client_says_so(
    shared: LocalGateway, version: str, connection: str, is_kept: bool
) -> None:
    request = SUBMISSION.replace(b"1.1", version.encode(), 1)
    request = request.replace(b"Host: x", f"Connection: {connection}".encode() if connection else b"X: x")
    if is_kept:
        request += LAST
    statuses = [status for status, _ in answers(shared.raw(request, timeout_sec=PATIENCE_SEC))]
    assert statuses == [200, 200] if is_kept else [200]


@pytest.mark.long
def test_what_waits_for_nats_holds_no_thread_and_is_answered_in_time(nats: NatsServer, local: LocalGateway) -> None:
    with contextlib.ExitStack() as open_clients:
        clients = [open_clients.enter_context(connect(local)) for _ in range(20)]
        with nats.frozen():
            for client in clients:
                client.sendall(SUBMISSION)
            wait_for_work(local, len(clients))
            assert local.busy_threads == 0
            received = [answers(client.recv(65536))[0] for client in clients]
        assert {status for status, _ in received} == {503}
        assert all(document["run_id"] for _, document in received)
    wait_for_work(local, 0)


def test_beyond_the_bound_requests_go_to_threads(
    nats: NatsServer, local: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_lane, "MAX_IN_WORK", 2)
    with contextlib.ExitStack() as open_clients:
        clients = [open_clients.enter_context(connect(local)) for _ in range(5)]
        with nats.frozen():
            for client in clients:
                client.sendall(SUBMISSION)
            eventually(lambda: local.busy_threads == 3, what="three threads at work", timeout_sec=PATIENCE_SEC)
            assert in_work(local) == 2
        assert {answers(client.recv(65536))[0][0] for client in clients} <= {200, 503}
    wait_for_work(local, 0)


def submit_and_leave(nats: NatsServer, gateway: LocalGateway) -> None:
    """Submit a run, and leave before NATS has been heard of it."""
    connections = len(gateway.http_server.active_channels)
    with nats.frozen():
        with connect(gateway) as client:
            client.sendall(SUBMISSION)
            wait_for_work(gateway, 1)
        eventually(lambda: len(gateway.http_server.active_channels) == connections, what="the connection closed")
    wait_for_work(gateway, 0)


def test_a_run_whose_client_has_left_is_known_to_be_queued(
    nats: NatsServer, local: LocalGateway, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(local.parts.submission, "_published", told.append)
    submit_and_leave(nats, local)
    assert told == parts.queued_ids() and len(told) == 1
    assert local.submit()


def test_a_run_that_is_refused_when_its_client_has_left_is_withdrawn(
    nats: NatsServer, local: LocalGateway, parts: Parts
) -> None:
    # Nobody takes its job then.
    parts.configure("PYOCO_WORK", subjects=["pyoco.elsewhere.>"])
    submit_and_leave(nats, local)
    eventually(lambda: not parts.keys(), what="no snapshot", timeout_sec=PATIENCE_SEC)
    assert parts.info("KV_pyoco_runs")["state"]["last_seq"] == 1


def test_a_client_that_reads_no_answers_keeps_nobody_waiting(
    shared: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No more than a few answers: whoever writes another one waits for the client.
    monkeypatch.setattr(shared.http_server.adj, "outbuf_high_watermark", 2_000)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        lazy.connect(("127.0.0.1", shared.port))
        lazy.sendall(SUBMISSION)
        channel = eventually(lambda: shared.channel_of(lazy), what="the connection")
        channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        lazy.setblocking(False)
        unsent = bytearray()

        def is_unsent() -> bool:
            unsent.extend(SUBMISSION * 20)
            with contextlib.suppress(BlockingIOError):
                del unsent[: lazy.send(unsent)]
            return bool(channel.total_outbufs_len > 2_000)

        eventually(is_unsent, what="answers that are not taken", timeout_sec=PATIENCE_SEC)
        assert shared.submit()
        lazy.settimeout(PATIENCE_SEC)
        assert lazy.recv(65536).startswith(b"HTTP/1.1 200 OK")
    wait_for_work(shared, 0)


@pytest.mark.long
@pytest.mark.parametrize("comes_back", [True, False])
def test_a_gateway_that_stops_answers_what_it_has_begun(
    nats: NatsServer, serve: Callable[..., LocalGateway], comes_back: bool
) -> None:
    gateway = serve()
    with connect(gateway) as client:
        with nats.frozen():
            client.sendall(SUBMISSION)
            wait_for_work(gateway, 1)
            stopping = threading.Thread(target=gateway.server.stop, args=(Deadline(30),))
            stopping.start()
            eventually(lambda: not gateway.http_server.accepting, what="the gateway accepting nobody")
            if not comes_back:
                assert answers(client.recv(65536))[0][0] == 503
        if comes_back:
            ((status, document),) = answers(client.recv(65536))
            assert (status, document["status"]) == (200, "PENDING")
        assert client.recv(65536) == b""
    stopping.join(PATIENCE_SEC)
    assert not stopping.is_alive()


def test_who_receives_does_not_wait_for_what_another_thread_is_about_to_send(
    nats: NatsServer, local: LocalGateway
) -> None:
    with connect(local) as client, nats.frozen():
        client.sendall(SUBMISSION)
        wait_for_work(local, 1)
        channel = local.channel_of(client)
        before = (bool(channel.readable()), bool(channel.writable()))
        # As while the kernel is given an answer.
        channel._is_sending, channel.total_outbufs_len = True, 100
        assert (bool(channel.readable()), bool(channel.writable())) == before == (True, False)
        # It waits for a client that has left too much, and somebody has to send that.
        # Up to the mark itself: waitress wakes it only when less is left.
        for more in (0, 1):
            channel.total_outbufs_len = local.http_server.adj.outbuf_high_watermark + more
            assert (bool(channel.readable()), bool(channel.writable())) == (False, True)
        channel._is_sending, channel.total_outbufs_len = False, 0
