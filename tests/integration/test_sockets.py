"""What the HTTP server waits for: sockets that are silent cost nothing, and none is forgotten."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import requests

from pyoco_server.gateway import http_server
from pyoco_server.gateway.answer_tasks import ProblemTask
from pyoco_server.gateway.sockets import Sockets
from pyoco_server.service import Deadline
from tests.support.gateway import LocalGateway
from tests.support.held_answers import HeldAnswers
from tests.support.nats import NatsServer
from tests.support.waiting import PATIENCE_SEC, eventually

REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_REQUEST = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Channel:
    """One end of a connection, which counts how often it is asked what it waits for."""

    accepting = False

    def __init__(self, channels: dict[int, Channel]) -> None:
        self.near, self.far = socket.socketpair()
        self._fileno = self.near.fileno()
        self.is_reading, self.is_writing = True, False
        self.asked_count = 0
        self.received = b""
        self.written_count = 0
        channels[self._fileno] = self

    def readable(self) -> bool:
        self.asked_count += 1
        return self.is_reading

    def writable(self) -> bool:
        return self.is_writing

    def handle_read_event(self) -> None:
        self.received += self.near.recv(100)

    def handle_write_event(self) -> None:
        self.written_count += 1
        self.is_writing = False


@pytest.fixture
def channels() -> Iterator[dict[int, Channel]]:
    made: dict[int, Channel] = {}
    yield made
    for channel in made.values():
        channel.near.close()
        channel.far.close()


@pytest.fixture
def sockets(channels: dict[int, Channel]) -> Iterator[Sockets]:
    with contextlib.closing(Sockets(channels)) as made:
        yield made


def test_a_silent_socket_is_not_asked_again(channels: dict[int, Channel], sockets: Sockets) -> None:
    busy, *silent = [Channel(channels) for _ in range(20)]
    sockets.look_at_all()
    sockets.turn()
    asked = [channel.asked_count for channel in silent]
    for number in range(1, 6):
        busy.far.sendall(b"x")
        sockets.turn()
        assert busy.received == b"x" * number
    assert [channel.asked_count for channel in silent] == asked


def test_a_socket_is_waited_for_as_it_wishes_now(channels: dict[int, Channel], sockets: Sockets) -> None:
    channel = Channel(channels)
    sockets.look_at_all()
    sockets.turn()
    channel.is_writing = True
    assert sockets.look_again(channel)
    sockets.turn()
    assert (channel.written_count, channel.is_writing) == (1, False)
    sockets.turn()
    assert not sockets.look_again(channel), "nothing has changed since"
    channel.is_reading = False
    assert sockets.look_again(channel)
    channel.far.sendall(b"x")
    sockets.turn()
    assert (channel.written_count, channel.received) == (1, b"")
    channel.is_reading = True
    assert sockets.look_again(channel)
    sockets.turn()
    assert channel.received == b"x"


def test_what_changes_while_the_kernel_is_told_is_not_lost(channels: dict[int, Channel], sockets: Sockets) -> None:
    class Hasty(Channel):
        """Begins to read as soon as it has said that it does not: before anybody can have heard of that."""

        def readable(self) -> bool:
            is_reading, self.is_reading = super().readable(), True
            return is_reading

    channel = Hasty(channels)
    channel.is_reading = False
    channel.far.sendall(b"x")
    sockets.look_at_all()
    sockets.turn()
    assert channel.received == b"x"


def test_a_number_that_stands_for_another_connection_by_now_is_told_anew(
    channels: dict[int, Channel], sockets: Sockets
) -> None:
    first = Channel(channels)
    sockets.look_at_all()
    sockets.turn()
    second = Channel(channels)
    del channels[second._fileno]
    os.dup2(second.near.fileno(), first._fileno)
    second._fileno = first.near.fileno()
    channels[second._fileno] = second
    assert sockets.look_again(second)
    second.far.sendall(b"x")
    sockets.turn()
    assert (first.received, second.received) == (b"", b"x")
    first.near.close()
    first.far.close()


def test_the_end_of_an_answer_is_noticed_at_once(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing is looked at for no reason, so that nothing is noticed by chance.
    monkeypatch.setattr(http_server, "_LOOK_SEC", 300.0)
    gateway = LocalGateway(nats)
    with contextlib.closing(requests.Session()) as session:
        for _ in range(20):
            assert gateway.raw(REQUEST * 20 + LAST_REQUEST).count(b"HTTP/1.1 200 OK") == 21
            assert session.get(f"{gateway.url}/health", timeout=10).ok
    gateway.stop()


def test_a_gateway_that_cannot_receive_any_more_says_so(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = LocalGateway(nats)

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(http_server, "dismiss_slow", fail)
    check_that_it_has_failed(gateway)
    gateway.stop()


def test_a_gateway_that_cannot_receive_any_more_while_it_stops_says_so(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = LocalGateway(nats)
    with asked_for_long(gateway) as held:
        stopping = threading.Thread(target=gateway.server.stop, args=(Deadline(PATIENCE_SEC),))
        stopping.start()
        eventually(lambda: not gateway.http_server.accepting, what="the closed door")

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(gateway.http_server.sockets, "turn", fail)
        check_that_it_has_failed(gateway)
        held.release()
        stopping.join()


def test_a_stop_leaves_a_client_the_time_to_read_why_it_was_refused(nats: NatsServer) -> None:
    gateway = LocalGateway(nats)
    size, piece = 20_000_000, b"x" * 1_000_000
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_SEC) as client:
        client.sendall(f"POST /runs HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
        channel = eventually(lambda: gateway.channel_of(client), what="the connection")
        eventually(lambda: channel.is_draining, what="the refusal, sent")
        stopping = threading.Thread(target=gateway.server.stop, args=(Deadline(PATIENCE_SEC),))
        stopping.start()
        eventually(lambda: not gateway.http_server.accepting, what="the closed door")
        for _ in range(size // len(piece)):
            client.sendall(piece)
        assert client.recv(65536).startswith(b"HTTP/1.1 413 ")
    stopping.join(PATIENCE_SEC)
    assert not stopping.is_alive()


def test_a_client_that_leaves_before_it_is_refused_is_no_failure(
    local: LocalGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    may_answer, answer = threading.Event(), ProblemTask.execute

    def execute(task: ProblemTask) -> None:
        assert may_answer.wait(PATIENCE_SEC)
        answer(task)

    monkeypatch.setattr(ProblemTask, "execute", execute)
    with socket.create_connection(("127.0.0.1", local.port)) as client:
        channel = eventually(lambda: local.channel_of(client), what="the connection")
        client.sendall(b"NONSENSE\r\n\r\n")
        eventually(lambda: local.busy_threads == 1, what="the refusal, begun")
    eventually(lambda: not channel.connected, what="the client gone")
    may_answer.set()
    eventually(lambda: not local.busy_threads, what="the end of the refusal")
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_gateway_that_can_start_no_thread_at_all_says_so(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = LocalGateway(nats)

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(gateway.http_server.task_dispatcher, "start_new_thread", refuse)
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        # It is looked for in NATS before a thread is needed.
        client.sendall(b"GET /runs/unknown HTTP/1.1\r\nHost: x\r\n\r\n")
        check_that_it_has_failed(gateway, RuntimeError)
    gateway.stop()


def test_a_stop_whose_time_is_over_before_an_answer_closes_what_there_is(nats: NatsServer) -> None:
    gateway = LocalGateway(nats)
    with asked_for_long(gateway):
        gateway.server.stop(Deadline(2))
        eventually(lambda: not gateway.http_server.active_channels, what="the end of all connections")
    gateway.stop()


def test_a_connection_is_closed_by_the_thread_that_receives_alone(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes through all of them meanwhile."""
    monkeypatch.setattr(http_server, "_LOOK_SEC", 300.0)
    gateway = LocalGateway(nats)
    closing_threads = []

    class Watched(dict[int, object]):
        def __delitem__(self, fd: int) -> None:
            closing_threads.append(threading.current_thread().name)
            super().__delitem__(fd)

    def application(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        # As waitress does where a client has left that is to be told to go on with its body.
        gateway.http_server.serving.channel.handle_close()
        start_response("200 OK", [("Content-Length", "0")])
        return []

    monkeypatch.setattr(gateway.http_server, "active_channels", Watched())
    gateway.http_server.application = application
    gateway.raw(REQUEST)
    assert closing_threads == ["pyoco-bridge"]
    gateway.stop()


def test_head_and_body_of_an_answer_come_together(shared: LocalGateway) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as connection:
        for _ in range(20):
            connection.sendall(REQUEST)
            assert connection.recv(65536).endswith(b'{"status": "ok"}\n')


@contextlib.contextmanager
def asked_for_long(gateway: LocalGateway) -> Iterator[HeldAnswers]:
    """Have a client wait for an answer that comes when it is released, or at the end of this."""
    gateway.http_server.application = held = HeldAnswers()
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(REQUEST)
        held.wait()
        try:
            yield held
        finally:
            held.release()


def check_that_it_has_failed(gateway: LocalGateway, error: type[Exception] = ZeroDivisionError) -> None:
    eventually(lambda: gateway.failures, what="the failure")
    (failed,) = gateway.failures
    assert (failed.name, type(failed.failure)) == ("pyoco-http", error)
    gateway.failures.clear()
