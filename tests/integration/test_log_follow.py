"""``GET /runs/{run_id}/logs?follow=true``: what comes when, where it goes on, and when it ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.gateway import dispatcher
from pyoco_server.service import Deadline
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.printed import append, ended, entry, running, texts
from tests.support.sse import EventStream, Recorder
from tests.support.waiting import eventually


def follow(gateway: LocalGateway, run_id: str, query: str = "", last_event_id: str | None = None) -> EventStream:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    stream = EventStream(gateway.port, f"/runs/{run_id}/logs?follow=true&{query}", headers, timeout_sec=30)
    assert stream.answer.status == 200
    return stream


def test_entries_come_as_they_are_stored_and_the_end_after_the_last(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = running(shared, shared_parts)
    append(shared_parts, run_id, entry(0), entry(1))
    with follow(shared, run_id) as stream:
        assert stream.answer.getheader("Content-Type") == "text/event-stream"
        assert stream.answer.getheader("Cache-Control") == "no-store"
        events = stream.events()
        assert [next(events).data for _ in range(2)] == [entry(0), entry(1)]
        began_at = time.monotonic()
        for seq in range(2, 12):
            append(shared_parts, run_id, entry(seq))
            assert next(events).data == entry(seq)
        # A look at every sign of life would take twice as long.
        assert time.monotonic() - began_at < 10
        append(shared_parts, run_id, entry(12))
        shared_parts.end(run_id)
        last, end = events
    assert last.data == entry(12)
    assert (end.name, end.data) == ("end", {"run_id": run_id, "run_status": "COMPLETED"})


def test_of_a_run_that_ended_at_all_is_given_and_the_end(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = ended(shared, shared_parts, *map(entry, range(5)))
    with follow(shared, run_id) as stream:
        pieces = list(stream.events())
    assert [piece.name for piece in pieces] == ["log"] * 5 + ["end"]
    with follow(shared, run_id, "tail=2") as stream:
        assert texts(list(stream.events())) == ["line 3", "line 4"]


def test_an_event_id_resumes_behind_its_entry_wherever_that_lies(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = running(shared, shared_parts)
    append(shared_parts, run_id, entry(0), entry(1))
    append(shared_parts, run_id, entry(2, "x" * 200_000))
    append(shared_parts, run_id, entry(3), entry(4, task="b"), entry(5))
    # Of the last one more might still come, but for the end of the run.
    append(shared_parts, run_id, entry(6, "y" * 200_000))
    shared_parts.end(run_id)
    with follow(shared, run_id) as stream:
        logs = [piece for piece in stream.events() if piece.name == "log"]
    assert [piece.data["seq"] for piece in logs] == list(range(7))
    for seen in logs:
        # What was seen already is not given again because somebody asks for a tail.
        with follow(shared, run_id, "tail=7", last_event_id=seen.id) as stream:
            rest = [piece for piece in stream.events() if piece.name == "log"]
        assert [(piece.id, piece.data) for piece in rest] == [
            (piece.id, piece.data) for piece in logs[seen.data["seq"] + 1 :]
        ]
    with follow(shared, run_id, "task=b", last_event_id=logs[0].id) as stream:
        assert texts(list(stream.events())) == ["line 4"]


@pytest.mark.parametrize("text", ["x", "1", "-1.0", "1.0.0", "1.x"])
def test_what_is_no_event_id_is_refused(shared: LocalGateway, text: str) -> None:
    answer = shared.get(f"/runs/{shared.submit()}/logs?follow=true", headers={"Last-Event-ID": text})
    assert fault_places(answer, "ERR-PYOCO-0002") == ["header.Last-Event-ID"]


def test_a_tail_of_a_task_comes_first_and_nothing_is_missed_or_given_twice_behind_it(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    run_id = running(shared, shared_parts)
    append(shared_parts, run_id, *(entry(seq, task="ab"[seq % 2]) for seq in range(10)))
    with follow(shared, run_id, "tail=2&task=a") as stream:
        events = stream.events()
        assert [next(events).data["seq"] for _ in range(2)] == [6, 8]
        append(shared_parts, run_id, *(entry(seq, task="ab"[seq % 2]) for seq in range(10, 13)))
        shared_parts.end(run_id)
        assert [event.data.get("seq") for event in events] == [10, 12, None]


def test_a_tail_of_attempts_that_overlap_can_be_resumed_at_each_entry(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    run_id = running(shared, shared_parts)
    # A worker that was cut off from NATS tells what it printed after the next attempt has begun.
    append(shared_parts, run_id, entry(1_000_000_000, "second"), attempt=2)
    append(shared_parts, run_id, entry(0, "first"), attempt=1)
    shared_parts.end(run_id)
    with follow(shared, run_id, "tail=2") as stream:
        seen = [piece for piece in stream.events() if piece.name == "log"]
    assert texts(seen) == ["second", "first"]
    with follow(shared, run_id, "tail=2", last_event_id=seen[0].id) as stream:
        assert texts(list(stream.events())) == ["first"]


@pytest.mark.long
def test_a_silent_stream_shows_that_it_lives_and_ends_in_time(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = running(shared, shared_parts)
    with follow(shared, run_id, "timeout_sec=6") as stream:
        pieces = list(stream.pieces())
        assert time.monotonic() - stream.opened_at > 5.5
    # One at once and one every two seconds, or fewer on a busy machine.
    assert [piece.name for piece in pieces[:3]] == ["comment"] * 3


def test_lines_of_text_come_as_they_are_stored_until_the_run_ended_at(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    run_id = running(shared, shared_parts)
    append(shared_parts, run_id, entry(0))
    with follow(shared, run_id, "format=text") as stream:
        assert stream.answer.getheader("Content-Type") == "text/plain; charset=utf-8"
        assert stream.answer.readline() == b"2026-11-22T00:25:01.000Z a stdout | line 0\n"
        append(shared_parts, run_id, entry(1))
        assert stream.answer.readline().endswith(b"line 1\n")
        append(shared_parts, run_id, entry(2))
        shared_parts.end(run_id)
        assert [line.decode().partition("| ")[2] for line in stream.answer.readlines()] == ["line 2\n"]


def test_followers_cost_nats_no_consumer(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = running(shared, shared_parts)
    streams = [follow(shared, run_id) for _ in range(10)]
    assert shared_parts.info("PYOCO_LOGS")["state"]["consumer_count"] == 0
    append(shared_parts, run_id, entry(0))
    shared_parts.end(run_id)
    for stream in streams:
        assert texts(list(stream.events())) == ["line 0"]
        stream.close()


def test_a_follower_takes_a_place_of_a_watch_and_gives_it_back(
    nats: NatsServer, serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    gateway = serve(PYOCO_MAX_WATCHES="1")
    gateway.wait_until_complete()
    run_id, over = running(gateway, parts), ended(gateway, parts)
    with follow(gateway, run_id):
        for path in (f"/runs/{run_id}/logs?follow=true&format=text", f"/runs/{run_id}/watch"):
            assert problem(gateway.get(path), 503)["err_id"] == "ERR-PYOCO-0003"
        # Only who follows needs one.
        assert gateway.get(f"/runs/{run_id}/logs?format=text").status_code == 200
    eventually(lambda: gateway.get(f"/runs/{over}/logs?follow=true").status_code == 200, what="the place being free")
    assert gateway.ask("HEAD", f"/runs/{run_id}/logs?follow=true").status_code == 200
    assert gateway.get(f"/runs/{over}/logs?follow=true").status_code == 200


def test_who_finds_no_place_has_no_log_read_and_a_log_that_cannot_be_read_takes_none(
    serve: Callable[..., LocalGateway], parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = serve(PYOCO_MAX_WATCHES="1")
    # The gateway would make the stream again.
    monkeypatch.setattr(dispatcher, "ensure_resources", lambda *_: [])
    gateway.wait_until_complete()
    run_id = running(gateway, parts)
    path = f"/runs/{run_id}/logs?follow=true&tail=1"
    with follow(gateway, run_id):
        parts.bus.api("STREAM.DELETE.PYOCO_LOGS")
        assert "watches" in problem(gateway.get(path), 503)["detail"]
    eventually(lambda: "watches" not in problem(gateway.get(path), 503)["detail"], what="the place being free")
    ensure_resources(parts.bus, parts.config)
    append(parts, run_id, entry(0))
    with follow(gateway, run_id, "tail=1") as stream:
        assert next(stream.events()).data == entry(0)


def test_a_stream_ends_when_its_run_is_removed_or_the_gateway_stops(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    gateway = serve()
    gateway.wait_until_complete()
    removed, stays = running(gateway, parts), running(gateway, parts)
    recorders = {run_id: Recorder(follow(gateway, run_id)) for run_id in (removed, stays)}
    parts.tombstone(removed)
    eventually(lambda: recorders[removed].ended_at, what="the end of the stream")
    assert not recorders[stays].ended_at
    began_at = time.monotonic()
    gateway.server.stop(Deadline(60))
    eventually(lambda: recorders[stays].ended_at, what="the end of the other stream")
    # It does not have the gateway wait until its own time is over.
    assert time.monotonic() - began_at < 30
    assert all(recorder.names == [] for recorder in recorders.values())


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hanging"])
def test_a_stream_lives_through_an_absence_of_nats_and_misses_nothing(
    nats: NatsServer, local: LocalGateway, parts: Parts, number: int
) -> None:
    run_id = running(local, parts)
    append(parts, run_id, entry(0))
    recorder = Recorder(follow(local, run_id))
    eventually(lambda: texts(recorder.pieces), what="the first entry")
    if number == signal.SIGKILL:
        nats.stop(number)
    else:
        nats.send(number)
    before = len(recorder.pieces)
    eventually(lambda: len(recorder.pieces) > before + 1, what="comments")
    if number == signal.SIGKILL:
        nats.start()
    else:
        nats.send(signal.SIGCONT)
    eventually(lambda: parts.bus.is_connected, what="the test's own connection")
    local.wait_until_complete()
    append(parts, run_id, entry(1))
    parts.end(run_id)
    eventually(lambda: recorder.ended_at, what="the end")
    assert texts(recorder.pieces) == ["line 0", "line 1"]
    assert recorder.names[-1] == "end"


def test_an_id_of_a_stream_that_is_no_more_keeps_nothing_back(local: LocalGateway, parts: Parts) -> None:
    run_id = ended(local, parts, entry(0), entry(1))
    with follow(local, run_id, last_event_id="999.5") as stream:
        assert texts(list(stream.events())) == ["line 0", "line 1"]
    parts.bus.api("STREAM.DELETE.PYOCO_LOGS")
    ensure_resources(parts.bus, parts.config)
    with follow(local, run_id, last_event_id="999.5") as stream:
        assert [piece.name for piece in stream.events()] == ["end"]


def test_a_tenant_sees_its_own_logs_alone_and_none_when_its_key_is_revoked(guarded: Guarded) -> None:
    key, other = guarded.known_key("acme"), guarded.known_key("else")
    headers = {"X-API-Key": key}
    answer = guarded.gateway.ask("POST", "/runs", json={"flow_name": "main"}, headers=headers)
    run_id = answer.json()["run_id"]
    append(guarded.parts, run_id, entry(0))
    for query in ("", "?format=text", "?follow=true"):
        assert problem(guarded.gateway.get(f"/runs/{run_id}/logs{query}", headers={"X-API-Key": other}), 404)
    stream = EventStream(guarded.gateway.port, f"/runs/{run_id}/logs?follow=true", headers, timeout_sec=30)
    recorder = Recorder(stream)
    eventually(lambda: texts(recorder.pieces), what="the first entry")
    guarded.keys.revoke(key)
    eventually(lambda: recorder.ended_at, what="the end of the stream")
    assert recorder.names == ["log"]
