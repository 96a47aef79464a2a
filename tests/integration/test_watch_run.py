"""``GET /runs/{run_id}/watch``: which events come, when, and with what in them."""

from __future__ import annotations

import itertools
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoco_server.states import RunStatus
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.parts import Parts, stored_run
from tests.support.sse import EventStream

#: Sooner than anything that only happens when the next comment is due.
AT_ONCE_SEC = 1.0
#: The contract's two seconds, and what a busy machine adds.
MAX_SILENCE_SEC = 2.5
RECORDS = {"load": {"state": "RUNNING", "output": None}}


def watch(gateway: LocalGateway, run_id: str, query: str = "", last_event_id: str | None = None) -> EventStream:
    headers = None if last_event_id is None else {"Last-Event-ID": last_event_id}
    stream = EventStream(gateway.port, f"/runs/{run_id}/watch?{query}", headers)
    assert stream.answer.status == 200
    return stream


def test_the_first_event_is_the_run_as_it_is_and_comes_at_once(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = shared.submit(params={"x": 1})
    with watch(shared, run_id) as stream:
        assert stream.answer.getheader("Content-Type") == "text/event-stream"
        assert stream.answer.getheader("Cache-Control") == "no-store"
        piece = next(stream.pieces())
    assert piece.at - stream.opened_at < AT_ONCE_SEC
    assert piece.name == "snapshot"
    assert piece.id == str(shared_parts.runs.get(run_id).revision)
    assert set(piece.data) == {"run_id", "snapshot", "ts"}
    assert piece.data["run_id"] == run_id
    assert abs(piece.data["ts"] - time.time()) < 5
    assert piece.data["snapshot"] == shared.get(f"/runs/{run_id}").json()


def test_each_change_is_sent_when_it_happens_and_the_stream_ends_after_the_last(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    run_id = shared.submit()
    delays, revisions = [], []
    with watch(shared, run_id) as stream:
        events = stream.snapshots()
        revisions.append(int(next(events).id or 0))
        for number in range(30):
            changed_at = shared_parts.change(run_id, status=RunStatus.RUNNING, params={"number": number})
            event = next(events)
            assert event.data["snapshot"]["params"] == {"number": number}
            delays.append(event.at - changed_at)
            revisions.append(int(event.id or 0))
        ended_at = shared_parts.end(run_id)
        last = list(events)
        closed_at = time.monotonic()
    assert [event.data["snapshot"]["status"] for event in last] == ["COMPLETED"]
    assert closed_at - ended_at < AT_ONCE_SEC
    assert revisions == sorted(set(revisions))
    assert statistics.median(delays) < 0.05
    assert max(delays) < AT_ONCE_SEC


@pytest.mark.long
def test_a_silent_stream_shows_every_two_seconds_that_it_lives_and_ends_in_time(shared: LocalGateway) -> None:
    run_id = shared.submit()
    with watch(shared, run_id) as stream:
        seen = next(stream.pieces()).id
    streams = [
        watch(shared, run_id, "timeout_sec=6"),
        watch(shared, run_id, f"timeout_sec=6&since={time.time() + 60}"),
        watch(shared, run_id, "timeout_sec=6", last_event_id=seen),
        watch(shared, run_id, "timeout_sec=6&include=records"),
    ]
    with ThreadPoolExecutor(len(streams)) as readers:
        read = list(readers.map(lambda stream: list(stream.pieces()), streams))
    for stream, pieces, first in zip(streams, read, ["snapshot", "comment", "comment", "snapshot"], strict=True):
        assert pieces[0].name == first
        assert pieces[0].at - stream.opened_at < AT_ONCE_SEC
        assert {piece.name for piece in pieces[1:]} == {"comment", "heartbeat"}
        assert max(later.at - piece.at for piece, later in itertools.pairwise(pieces)) < MAX_SILENCE_SEC
        (heartbeat,) = [piece for piece in pieces if piece.name == "heartbeat"]
        assert 4.9 < heartbeat.at - stream.asked_at < 7.5
        assert heartbeat.data.keys() == {"run_id", "ts"}
        assert heartbeat.id is None
        assert 4.9 < pieces[-1].at - stream.asked_at < 7.5
        stream.close()


def test_a_stream_ends_when_its_time_has_passed(shared: LocalGateway) -> None:
    began_at = time.monotonic()
    with watch(shared, shared.submit(), "timeout_sec=1") as stream:
        assert [piece.name for piece in stream.pieces()] == ["snapshot"]
        assert 0.9 < time.monotonic() - began_at < 2.5


@pytest.mark.parametrize("value", ["0", "601", "-1", "1.5", "x", "", "1_0"])
def test_a_time_that_is_no_whole_number_from_1_to_600_is_refused(shared: LocalGateway, value: str) -> None:
    answer = shared.get(f"/runs/x/watch?timeout_sec={value}")
    assert fault_places(answer, "ERR-PYOCO-0002") == ["query.timeout_sec"]


def test_the_longest_time_is_taken(shared: LocalGateway) -> None:
    watch(shared, shared.submit(), "timeout_sec=600").close()


def test_every_wrong_value_of_a_watch_is_named(shared: LocalGateway) -> None:
    for value in ("x", "", "nan"):
        assert fault_places(shared.get(f"/runs/x/watch?since={value}"), "ERR-PYOCO-0002") == ["query.since"]
    answer = shared.get("/runs/x/watch?since=x&timeout_sec=x", headers={"Last-Event-ID": "abc"})
    expected = ["query.since", "query.timeout_sec", "header.Last-Event-ID"]
    assert fault_places(answer, "ERR-PYOCO-0002") == expected


def test_since_keeps_back_what_is_older_and_nothing_else(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = shared.submit()
    updated_at = shared.get(f"/runs/{run_id}").json()["updated_at"]
    for since in (0, updated_at - 1, updated_at):
        with watch(shared, run_id, f"since={since!r}") as stream:
            assert next(stream.pieces()).name == "snapshot"
    with watch(shared, run_id, f"since={updated_at + 0.001!r}") as stream:
        pieces = stream.pieces()
        assert next(pieces).name == "comment"
        changed_at = shared_parts.change(run_id, status=RunStatus.RUNNING)
        event = next(pieces)
        assert (event.name, event.data["snapshot"]["status"]) == ("snapshot", "RUNNING")
        assert event.at - changed_at < AT_ONCE_SEC


def test_last_event_id_resumes_after_what_was_seen(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = shared.submit()
    with watch(shared, run_id) as stream:
        first = next(stream.snapshots()).id
    shared_parts.change(run_id, status=RunStatus.RUNNING)
    with watch(shared, run_id, last_event_id=first) as stream:
        missed = next(stream.snapshots())
        assert missed.data["snapshot"]["status"] == "RUNNING"
    with watch(shared, run_id, last_event_id=missed.id) as stream:
        pieces = stream.pieces()
        assert next(pieces).name == "comment"
        shared_parts.end(run_id)
        (last,) = [piece for piece in pieces if piece.name == "snapshot"]
        assert last.data["snapshot"]["status"] == "COMPLETED"
    with watch(shared, run_id, last_event_id=last.id) as stream:
        assert [piece.name for piece in stream.pieces()] == ["comment"]


def test_an_id_of_a_bucket_that_is_no_more_keeps_nothing_back(shared: LocalGateway) -> None:
    with watch(shared, shared.submit(), last_event_id="999999") as stream:
        assert next(stream.pieces()).name == "snapshot"


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELLED"])
def test_of_a_run_that_has_ended_there_is_one_event_and_the_end(
    shared: LocalGateway, shared_parts: Parts, status: str
) -> None:
    shared_parts.put(f"ended-{status}", stored_run(f"ended-{status}", status=status))
    with watch(shared, f"ended-{status}") as stream:
        (event,) = stream.pieces()
    assert event.data["snapshot"]["status"] == status


@pytest.mark.parametrize(("query", "has_records"), [("", False), ("include=nothing", False), ("include=full", True)])
def test_records_are_sent_to_who_asks_for_them(
    shared: LocalGateway, shared_parts: Parts, query: str, has_records: bool
) -> None:
    run_id = f"with-{query}"
    shared_parts.put(run_id, stored_run(run_id, task_records=RECORDS))
    with watch(shared, run_id, query) as stream:
        events = stream.snapshots()
        first = next(events)
        shared_parts.change(run_id, status=RunStatus.RUNNING)
        second = next(events)
    for event in (first, second):
        assert event.data["snapshot"].get("task_records") == (RECORDS if has_records else None)


def test_a_run_that_is_too_large_for_the_list_is_watched_in_whole(shared: LocalGateway, shared_parts: Parts) -> None:
    params = {"text": "x" * 50_000}
    run_id = shared.submit(params=params)
    with watch(shared, run_id) as stream:
        events = stream.snapshots()
        assert next(events).data["snapshot"]["params"] == params
        shared_parts.end(run_id)
        (last,) = events
    assert (last.data["snapshot"]["status"], last.data["snapshot"]["params"]) == ("COMPLETED", params)


@pytest.mark.parametrize("operation", ["DEL", "PURGE"])
def test_a_stream_ends_when_its_run_is_removed(shared: LocalGateway, shared_parts: Parts, operation: str) -> None:
    run_id = shared.submit()
    with watch(shared, run_id) as stream:
        pieces = stream.pieces()
        next(pieces)
        shared_parts.tombstone(run_id, operation)
        removed_at = time.monotonic()
        assert [piece.name for piece in pieces] == []
        assert time.monotonic() - removed_at < AT_ONCE_SEC
    problem(shared.get(f"/runs/{run_id}/watch"), 404)


def test_many_watch_one_run_and_all_see_its_end_at_once(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id, other = shared.submit(), shared.submit()
    streams = [watch(shared, run_id) for _ in range(12)]
    quiet = watch(shared, other)
    with ThreadPoolExecutor(len(streams)) as readers:
        read = [readers.submit(lambda stream=stream: list(stream.snapshots())) for stream in streams]
        ended_at = shared_parts.end(run_id)
        for future in read:
            events = future.result(timeout=10)
            assert events[-1].data["snapshot"]["status"] == "COMPLETED"
            assert events[-1].at - ended_at < AT_ONCE_SEC
    assert next(quiet.pieces()).data["run_id"] == other
    for stream in (*streams, quiet):
        stream.close()
