"""How the HTTP client follows a run over streams that end, break, repeat themselves or fall silent."""

from __future__ import annotations

import json
import threading

import pytest

from pyoco_server.client import streams
from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.errors import GatewayRefused, GatewayUnreachable
from tests.support.fake_gateway import FakeGateway, json_answer, snapshot_event, statuses, stream_answer


@pytest.mark.parametrize("chunked", [True, False])
def test_an_event_arrives_while_the_stream_is_open(
    gateway: FakeGateway, client: PyocoHttpClient, chunked: bool
) -> None:
    release = threading.Event()
    gateway.answers = [
        stream_answer(b": hello\n\n", snapshot_event("RUNNING", 1.0), chunked=chunked, then=lambda: release.wait(10))
    ]
    events = client.watch_run("r1")
    try:
        assert next(events)["data"]["snapshot"]["status"] == "RUNNING"
        assert not release.is_set()
    finally:
        release.set()
    assert list(events) == []


def test_a_large_snapshot_arrives_whole(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    data = json.dumps({"snapshot": {"output": "x" * 1_000_000}}).encode()
    gateway.answers = [stream_answer(b"data: " + data[:70_000], data[70_000:] + b"\n\n")]
    assert len(next(client.watch_run("r1"))["data"]["snapshot"]["output"]) == 1_000_000


def test_one_stream_is_asked_for_as_given(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0))]
    assert len(list(client.watch_run("r1", include_records=True, since=2.5, timeout_sec=7))) == 1
    assert [request.path for request in gateway.requests] == ["/runs/r1/watch"]
    assert gateway.requests[0].query == {"include": ["records"], "since": ["2.5"], "timeout_sec": ["7"]}


def test_silence_is_an_error_after_its_limit(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAM_SILENCE_SEC", 1.0)
    release = threading.Event()
    gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0), then=lambda: release.wait(10))]
    try:
        with PyocoHttpClient(gateway.url, timeout_sec=1.0) as client:
            events = client.watch_run("r1")
            next(events)
            with pytest.raises(GatewayUnreachable, match=r"silent for 1 s"):
                next(events)
    finally:
        release.set()


def test_a_stream_that_breaks_is_an_error_unless_the_watch_goes_on(
    gateway: FakeGateway, client: PyocoHttpClient
) -> None:
    gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0), cut=True)]
    events = client.watch_run("r1")
    next(events)
    with pytest.raises(GatewayUnreachable, match="broke in the watch of run r1"):
        next(events)


def test_until_terminal_goes_on_over_ends_breaks_and_refusals_that_pass(
    gateway: FakeGateway, client: PyocoHttpClient
) -> None:
    gateway.answers = [
        stream_answer(snapshot_event("PENDING", 1.0, "11")),
        stream_answer(snapshot_event("RUNNING", 2.0, "12"), cut=True),
        json_answer({"detail": "NATS does not answer."}, 503),
        stream_answer(snapshot_event("COMPLETED", 3.0, "13"), snapshot_event("RUNNING", 4.0)),
    ]
    events = list(client.watch_run("r1", until_terminal=True))
    assert statuses(events) == ["PENDING", "RUNNING", "COMPLETED"]
    resumed = [request.headers.get("last-event-id") for request in gateway.requests]
    assert resumed == [None, "11", "12", "12"]
    assert {request.query["timeout_sec"][0] for request in gateway.requests} == {"600"}


def test_until_terminal_does_not_repeat_the_state_that_a_0_5_1_gateway_sends_again(
    gateway: FakeGateway, client: PyocoHttpClient
) -> None:
    running = snapshot_event("RUNNING", 1.0)
    gateway.answers = [stream_answer(running), stream_answer(running, snapshot_event("FAILED", 2.0))]
    assert statuses(list(client.watch_run("r1", until_terminal=True))) == ["RUNNING", "FAILED"]
    assert [request.query.get("since") for request in gateway.requests] == [None, ["1.0"]]


def test_until_terminal_ends_when_its_time_is_over(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0))]
    assert statuses(list(client.watch_run("r1", until_terminal=True, timeout_sec=1))) == ["RUNNING"]
    assert len(gateway.requests) > 1
    assert {request.query["timeout_sec"][0] for request in gateway.requests} == {"1"}


def test_until_terminal_still_fails_at_once_where_the_run_or_the_gateway_is_missing(
    gateway: FakeGateway, client: PyocoHttpClient, closed_port: int
) -> None:
    gateway.answers = [json_answer({"detail": "run not found"}, 404)]
    with pytest.raises(GatewayRefused, match="404"):
        next(client.watch_run("nope", until_terminal=True))
    with PyocoHttpClient(f"http://127.0.0.1:{closed_port}") as nobody:
        with pytest.raises(GatewayUnreachable):
            next(nobody.watch_run("r1", until_terminal=True))


def test_until_terminal_is_patient_from_the_first_with_a_run_that_the_gateway_has_just_told_of(
    gateway: FakeGateway, client: PyocoHttpClient
) -> None:
    gateway.answers = [json_answer({"detail": "Ask again."}, 503), stream_answer(snapshot_event("COMPLETED", 1.0))]
    assert statuses(list(client.watch_run("r1", until_terminal=True, is_known=True))) == ["COMPLETED"]


def test_until_terminal_ends_at_once_where_the_run_goes_away(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gone = json_answer({"detail": "run not found"}, 404)
    gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0)), gone]
    events = client.watch_run("r1", until_terminal=True)
    next(events)
    with pytest.raises(GatewayRefused, match="404"):
        next(events)
    assert len(gateway.requests) == 2


def test_until_terminal_gives_up_a_gateway_that_stays_away(
    gateway: FakeGateway, client: PyocoHttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "OUTAGE_MAX_SEC", 1.0)
    gateway.answers = [
        stream_answer(snapshot_event("RUNNING", 1.0)),
        json_answer({"detail": "away"}, 503),
    ]
    events = client.watch_run("r1", until_terminal=True)
    next(events)
    with pytest.raises(GatewayRefused, match="503"):
        next(events)
    assert len(gateway.requests) > 2


def test_closing_the_client_ends_a_watch_that_waits(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [stream_answer(snapshot_event("RUNNING", 1.0), then=client.close)]
    assert statuses(list(client.watch_run("r1", until_terminal=True))) == ["RUNNING"]
    assert len(gateway.requests) == 1
