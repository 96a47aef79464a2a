"""The places for watches: how many there are, who gets them back, and what a lack of them does not hold up."""

from __future__ import annotations

import http.client
import itertools
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus
from tests.support.gateway import LocalGateway, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.sse import EventStream, Recorder
from tests.support.waiting import eventually

Serve = Callable[..., LocalGateway]
#: A client that has left is noticed when the next comment is due.
FREED_SEC = 3.0


@pytest.fixture
def narrow(serve: Serve) -> LocalGateway:
    """A gateway with places for two watches."""
    gateway = serve(PYOCO_MAX_WATCHES="2")
    gateway.wait_until_complete()
    return gateway


def take_all_places(gateway: LocalGateway, run_id: str) -> list[EventStream]:
    streams = [EventStream(gateway.port, f"/runs/{run_id}/watch") for _ in range(2)]
    assert [stream.answer.status for stream in streams] == [200, 200]
    return streams


def test_a_watch_without_a_place_is_told_to_come_back(narrow: LocalGateway) -> None:
    run_id = narrow.submit()
    streams = take_all_places(narrow, run_id)
    document = problem(answer := narrow.get(f"/runs/{run_id}/watch"), 503)
    assert document["err_id"] == "ERR-PYOCO-0003"
    assert "2 watches" in document["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    for stream in streams:
        assert next(stream.pieces()).name == "snapshot"
        stream.close()


def test_requests_do_not_wait_behind_watches_nor_behind_those_who_want_one(narrow: LocalGateway) -> None:
    run_id = narrow.submit()
    streams = take_all_places(narrow, run_id)

    def ask_for_a_place(_: int) -> tuple[int, float]:
        began_at = time.monotonic()
        with EventStream(narrow.port, f"/runs/{run_id}/watch") as stream:
            return stream.answer.status, time.monotonic() - began_at

    with ThreadPoolExecutor(40) as clients:
        asked = clients.map(ask_for_a_place, range(200))
        for _ in range(20):
            began_at = time.monotonic()
            narrow.submit()
            assert narrow.get("/runs?limit=1").status_code == 200
            assert time.monotonic() - began_at < 2
        answers = list(asked)
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 2
    for stream in streams:
        stream.close()


def test_a_gateway_may_have_no_places_at_all(serve: Serve) -> None:
    gateway = serve(PYOCO_MAX_WATCHES="0")
    problem(gateway.get(f"/runs/{gateway.submit()}/watch"), 503)


def test_a_client_that_leaves_gives_its_place_back(narrow: LocalGateway, parts: Parts) -> None:
    run_id, ended = narrow.submit(), narrow.submit()
    parts.end(ended)
    stays, leaves = take_all_places(narrow, run_id)
    problem(narrow.get(f"/runs/{ended}/watch"), 503)
    leaves.close()
    eventually(
        lambda: narrow.get(f"/runs/{ended}/watch").status_code == 200, what="a free place", timeout_sec=FREED_SEC
    )
    stays.close()


def test_what_is_no_stream_takes_no_place(narrow: LocalGateway, parts: Parts) -> None:
    run_id, ended = narrow.submit(), narrow.submit()
    parts.end(ended)
    for _ in range(3):
        assert narrow.ask("HEAD", f"/runs/{run_id}/watch").status_code == 200
        problem(narrow.get("/runs/unknown/watch"), 404)
        problem(narrow.get(f"/runs/{run_id}/watch?timeout_sec=0"), 422)
        assert narrow.get(f"/runs/{ended}/watch").text.startswith("id: ")
    for stream in take_all_places(narrow, run_id):
        stream.close()


def test_streams_end_whole_and_quickly_when_the_gateway_stops(serve: Serve) -> None:
    gateway = serve()
    gateway.wait_until_complete()
    run_id = gateway.submit()
    streams = [EventStream(gateway.port, f"/runs/{run_id}/watch") for _ in range(10)]
    with ThreadPoolExecutor(10) as readers:
        readings = [readers.submit(names_and_end, stream) for stream in streams]
        began_at = time.monotonic()
        gateway.server.stop(Deadline(10))
        # A stream that was cut off would raise IncompleteRead.
        results = [reading.result() for reading in readings]
    assert [names for names, _ in results] == [["snapshot"]] * 10
    # They do not wait until the next comment is due.
    assert max(ended_at for _, ended_at in results) - began_at < 1.5
    for stream in streams:
        stream.close()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", gateway.port).connect()


def names_and_end(stream: EventStream) -> tuple[list[str], float]:
    """Read a stream to its end; give the names of its pieces, and when it ended."""
    return [piece.name for piece in stream.pieces()], time.monotonic()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hanging"])
def test_a_stream_lives_through_an_absence_of_nats(
    nats: NatsServer, local: LocalGateway, parts: Parts, number: int
) -> None:
    run_id = local.submit()
    queries = ("", "?include=records")
    recorders = [Recorder(EventStream(local.port, f"/runs/{run_id}/watch{query}")) for query in queries]
    eventually(lambda: all(recorder.pieces for recorder in recorders), what="the first events")
    if number == signal.SIGKILL:
        nats.stop(number)
    else:
        nats.send(number)
    away_at = time.monotonic()
    eventually(lambda: all(len(recorder.pieces) >= 3 for recorder in recorders), what="comments", timeout_sec=6)
    if number == signal.SIGKILL:
        nats.start()
    else:
        nats.send(signal.SIGCONT)
    local.wait_until_complete()
    # The gateway's connection and the test's return each in their own time.
    eventually(lambda: parts.bus.is_connected, what="the test's own connection")
    parts.change(run_id, status=RunStatus.RUNNING)
    parts.end(run_id)
    back_at = time.monotonic()
    eventually(lambda: all(recorder.ended_at for recorder in recorders), what="the ends", timeout_sec=3)
    for recorder in recorders:
        assert recorder.statuses()[0] == "PENDING"
        assert recorder.statuses()[-1] == "COMPLETED"
        times = [piece.at for piece in recorder.pieces]
        assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 2.5
        assert back_at - away_at > 3


def test_a_stream_ends_when_the_bucket_was_made_anew_and_revisions_count_anew(
    local: LocalGateway, parts: Parts
) -> None:
    local.submit()
    run_id = local.submit()
    document = parts.snapshot(run_id)
    recorder = Recorder(EventStream(local.port, f"/runs/{run_id}/watch"))
    eventually(lambda: recorder.pieces, what="the first event")
    parts.bus.api("STREAM.DELETE.KV_pyoco_runs")
    ensure_resources(parts.bus, parts.config)
    # By its revision it is older than what was sent already.
    assert parts.put(run_id, {**document, "status": "RUNNING"}) < int(recorder.pieces[0].id or 0)
    eventually(lambda: recorder.ended_at, what="the end of the stream", timeout_sec=6)
    local.wait_until_complete()
    recorder = Recorder(
        EventStream(local.port, f"/runs/{run_id}/watch", {"Last-Event-ID": recorder.pieces[0].id or ""})
    )
    eventually(lambda: recorder.statuses() == ["RUNNING"], what="the run as it is now")
