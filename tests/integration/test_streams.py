"""Watches are looked after by one thread: what none of them may do to the others."""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import threading
import tracemalloc
from typing import Any

import pytest

from pyoco_server.gateway import channel, watch
from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.watch import WatchStream
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts, stored_run
from tests.support.sse import EventStream, Recorder
from tests.support.waiting import PATIENCE_SEC, eventually

WATCH = "/runs/{}/watch?timeout_sec=60"
COUNT = 40


def all_places_are_free(gateway: LocalGateway) -> None:
    eventually(lambda: gateway.free_places == gateway.config.max_watches, what="the places given back")


def has_read(reader: Recorder, revision: int) -> bool:
    return reader.pieces[-1].id == str(revision)


def connect_with_little_room(gateway: LocalGateway, client: socket.socket) -> Any:
    """Connect where the kernel keeps little of what is not read; gives the gateway's end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", gateway.port))
    channel = eventually(lambda: gateway.channel_of(client), what="the connection")
    channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return channel


@pytest.mark.parametrize("include", ["", "&include=records"])
def test_open_watches_hold_no_threads_and_all_are_told(shared: LocalGateway, shared_parts: Parts, include: str) -> None:
    run_id = shared.submit()
    recorders = [Recorder(EventStream(shared.port, WATCH.format(run_id) + include)) for _ in range(COUNT)]
    eventually(lambda: shared.busy_threads == 0, what="the threads being free again")
    shared_parts.end(run_id)
    for recorder in recorders:
        eventually(lambda recorder=recorder: recorder.ended_at is not None, what="the end of a stream")
        assert recorder.statuses()[-1] == "COMPLETED"
    all_places_are_free(shared)


def test_a_client_that_does_not_read_delays_nobody_and_is_told_the_newest_state_when_it_does(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    run_id = shared.submit()
    reader = Recorder(EventStream(shared.port, WATCH.format(run_id)))
    with socket.socket() as lazy:
        connect_with_little_room(shared, lazy)
        lazy.sendall(f"GET {WATCH.format(run_id)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        # Together more than the kernel takes for who does not read.
        for number in range(60):
            params = {"n": number, "text": "x" * 7_500}
            revision = shared_parts.put(run_id, stored_run(run_id, status="RUNNING", params=params))
            eventually(functools.partial(has_read, reader, revision), what="a change, read")
        shared_parts.put(run_id, stored_run(run_id, status="COMPLETED"))
        eventually(lambda: reader.ended_at is not None, what="the end of the stream that is read")
        lazy.settimeout(20)
        received = b""
        while piece := lazy.recv(65536):
            received += piece
    assert received.count(b"event: snapshot") < 30, "what nobody has read was kept"
    assert b'"COMPLETED"' in received
    assert received.endswith(b"0\r\n\r\n")
    all_places_are_free(shared)


def test_the_end_of_a_stream_that_its_client_does_not_read_holds_nobody_up(
    shared: LocalGateway, shared_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, other = "large", shared.submit()
    shared_parts.put(large, stored_run(large, params={"text": "x" * 300_000}))
    # As a snapshot of megabytes has it.
    monkeypatch.setattr(shared.http_server.adj, "outbuf_high_watermark", 65_536)
    reader = Recorder(EventStream(shared.port, WATCH.format(other), timeout_sec=PATIENCE_SEC))
    with socket.socket() as lazy:
        lazy.settimeout(PATIENCE_SEC)
        end = connect_with_little_room(shared, lazy)
        lazy.sendall(f"GET /runs/{large}/watch?timeout_sec=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: end.total_outbufs_len > 65_536, what="more than is kept, unsent")
        eventually(lambda: shared.free_places == shared.config.max_watches - 1, what="the end of its time")
        shared_parts.end(other)
        eventually(lambda: reader.ended_at is not None, what="the end of the stream that is read")
        received = b""
        while piece := lazy.recv(65536):
            received += piece
    assert received.count(b"x" * 300_000) == 1
    assert received.endswith(b"\r\n0\r\n\r\n")
    all_places_are_free(shared)


def test_a_stream_that_its_client_does_not_read_gives_its_place_back(
    shared: LocalGateway, shared_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "STALL_SEC", 1.0)
    shared_parts.put("unread", stored_run("unread", params={"text": "x" * 300_000}))
    with socket.socket() as lazy:
        end = connect_with_little_room(shared, lazy)
        lazy.sendall(f"GET {WATCH.format('unread')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: end.is_behind, what="the stream, unread")
        all_places_are_free(shared)


def test_an_open_watch_keeps_nothing_of_what_it_has_sent(shared: LocalGateway, shared_parts: Parts) -> None:
    size, count = 200_000, 16
    shared_parts.put("sizeable", stored_run("sizeable", params={"text": "x" * size}))
    with contextlib.ExitStack() as stack:
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        for _ in range(count):
            stream = stack.enter_context(EventStream(shared.port, WATCH.format("sizeable")))
            assert len(next(stream.pieces()).data["snapshot"]["params"]["text"]) == size
        eventually(lambda: tracemalloc.get_traced_memory()[0] < count * size / 4, what="the memory given back")
    all_places_are_free(shared)


def test_clients_that_leave_at_any_moment_give_their_places_back(shared: LocalGateway) -> None:
    run_id = shared.submit()
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", shared.port)) as client:
            # Closing resets the connection, so that what is sent to it fails.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(f"GET {WATCH.format(run_id)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    channels = shared.http_server.active_channels
    eventually(lambda: len(channels) <= 1 and shared.busy_threads == 0, what="the connections being gone")
    all_places_are_free(shared)


def test_a_stream_that_fails_is_cut_off_and_the_others_go_on(
    shared: LocalGateway, shared_parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = shared.submit(), shared.submit()
    cut = Recorder(EventStream(shared.port, WATCH.format(broken)))
    other = Recorder(EventStream(shared.port, WATCH.format(whole)))
    eventually(lambda: cut.pieces and other.pieces, what="the first events")
    look = WatchStream.look

    def fail(stream: WatchStream) -> Any:
        if stream.run_id == broken:
            raise RuntimeError("as a mistake of ours would")
        return look(stream)

    monkeypatch.setattr(WatchStream, "look", fail)
    shared_parts.put(broken, stored_run(broken, status="RUNNING"))
    eventually(lambda: cut.ended_at is not None, what="the end of the stream that failed")
    assert f"the stream of run {broken} is cut off" in caplog.text
    shared_parts.end(whole)
    eventually(lambda: other.ended_at is not None, what="the end of the other")
    assert other.statuses()[-1] == "COMPLETED"
    all_places_are_free(shared)


def test_a_change_that_comes_while_a_stream_waits_for_nats_is_told_at_once(
    shared: LocalGateway, shared_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No sign of life is due that would bring it.
    monkeypatch.setattr(watch, "COMMENT_SEC", 600.0)
    monkeypatch.setattr(watch, "_HEARTBEAT_SEC", 600.0)
    run_id, quick = shared.submit(), shared.submit()
    waiting = Recorder(EventStream(shared.port, WATCH.format(run_id) + "&include=records", timeout_sec=PATIENCE_SEC))
    eventually(lambda: waiting.pieces, what="the first event")
    other = Recorder(EventStream(shared.port, WATCH.format(quick), timeout_sec=PATIENCE_SEC))
    eventually(lambda: other.pieces, what="the first event of the other")
    has_read_nats, may_go_on = threading.Event(), threading.Event()
    look = WatchStream.look

    def wait(stream: WatchStream) -> str | None:
        news = look(stream)
        if news is not None and stream.run_id == run_id:
            has_read_nats.set()
            assert may_go_on.wait(PATIENCE_SEC)
        return news

    monkeypatch.setattr(WatchStream, "look", wait)
    try:
        shared_parts.put(run_id, stored_run(run_id, status="RUNNING"))
        assert has_read_nats.wait(PATIENCE_SEC)
        revision = shared_parts.put(run_id, stored_run(run_id, status="RUNNING"))
        shared.wait_until_applied(revision)
        # Now at the latest it is told, and the other after it.
        shared.parts.model.wake_watches()
        told = shared_parts.put(quick, stored_run(quick, status="RUNNING"))
        eventually(lambda: has_read(other, told), what="the other's change, read")
    finally:
        may_go_on.set()
    eventually(lambda: has_read(waiting, revision), what="the change, read")
    for each in (run_id, quick):
        shared_parts.end(each)
    all_places_are_free(shared)


def test_requests_behind_a_stream_on_its_connection_are_not_answered(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = shared.submit()
    with socket.create_connection(("127.0.0.1", shared.port), timeout=20) as client:
        ask = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n".format
        client.sendall((ask(WATCH.format(run_id)) + ask("/health")).encode())
        received = client.recv(65536)
        shared_parts.end(run_id)
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                received += piece
    assert received.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in received
    assert b'"COMPLETED"' in received


def test_another_wsgi_server_iterates_a_watch_to_its_end(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = shared.submit()
    answer = create_app(shared.parts).test_client().get(f"/runs/{run_id}/watch?timeout_sec=1")
    assert answer.text.count("event: snapshot") == 1
    answer.close()
    all_places_are_free(shared)
