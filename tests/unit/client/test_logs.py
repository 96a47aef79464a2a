"""How the HTTP client reads and follows what a run prints, over streams that end and break."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyoco_server.client import streams
from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.errors import GatewayRefused, GatewayUnreachable, InvalidInput
from tests.support.fake_gateway import FakeGateway, json_answer, stream_answer

END = b'event: end\ndata: {"run_id": "r1", "run_status": "FAILED"}\n\n'


def log_event(place: str, text: str) -> bytes:
    return f"id: {place}\nevent: log\ndata: {json.dumps({'seq': 0, 'text': text})}\n\n".encode()


def told(events: list[dict[str, Any]]) -> list[str]:
    return [event["data"].get("text") or event["data"]["run_status"] for event in events]


def test_a_log_is_asked_for_as_given(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    answer = {"run_status": "RUNNING", "logs": [], "is_cut": False}
    gateway.answers = [json_answer(answer)]
    assert client.get_run_logs("r/1") == client.get_run_logs("r1", task="a", tail=5) == answer
    assert [request.path for request in gateway.requests] == ["/runs/r%2F1/logs", "/runs/r1/logs"]
    assert [request.query for request in gateway.requests] == [{}, {"task": ["a"], "tail": ["5"]}]


def test_following_goes_on_over_ends_breaks_and_refusals_that_pass(
    gateway: FakeGateway, client: PyocoHttpClient
) -> None:
    gateway.answers = [
        stream_answer(log_event("7.0", "a"), log_event("7.1", "b")),
        stream_answer(log_event("8.0", "c"), cut=True),
        json_answer({"detail": "NATS does not answer."}, 503),
        stream_answer(b": alive\n\n"),
        stream_answer(log_event("9.0", "d"), END, log_event("9.1", "never")),
    ]
    assert told(list(client.follow_run_logs("r1", task="t", tail=2))) == ["a", "b", "c", "d", "FAILED"]
    assert [request.headers.get("last-event-id") for request in gateway.requests] == [None, "7.1", "8.0", "8.0", "8.0"]
    expected = {"follow": ["true"], "task": ["t"], "tail": ["2"], "timeout_sec": ["600"]}
    assert all(request.query == expected for request in gateway.requests)


def test_following_ends_when_its_time_is_over(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [stream_answer(log_event("7.0", "a"))]
    events = client.follow_run_logs("r1", timeout_sec=1)
    assert told([next(events)]) == ["a"]
    gateway.answers = [stream_answer(b": alive\n\n")]
    assert list(events) == []
    assert {request.query["timeout_sec"][0] for request in gateway.requests} == {"1"}
    assert len(gateway.requests) > 1


def test_following_fails_at_once_where_the_run_or_the_gateway_is_missing(
    gateway: FakeGateway, client: PyocoHttpClient, closed_port: int
) -> None:
    gateway.answers = [json_answer({"detail": "run not found"}, 404)]
    with pytest.raises(GatewayRefused, match="404"):
        next(client.follow_run_logs("nope"))
    with PyocoHttpClient(f"http://127.0.0.1:{closed_port}") as nobody:
        with pytest.raises(GatewayUnreachable):
            next(nobody.follow_run_logs("r1"))
    with pytest.raises(InvalidInput):
        client.follow_run_logs("")


def test_following_gives_up_a_gateway_that_stays_away(
    gateway: FakeGateway, client: PyocoHttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "OUTAGE_MAX_SEC", 1.0)
    gateway.answers = [stream_answer(log_event("7.0", "a")), json_answer({"detail": "away"}, 503)]
    events = client.follow_run_logs("r1")
    next(events)
    with pytest.raises(GatewayRefused, match="503"):
        next(events)
    assert len(gateway.requests) > 2


def test_what_answers_without_a_stream_is_no_gateway_that_can_be_followed(
    gateway: FakeGateway, client: PyocoHttpClient
) -> None:
    gateway.answers = [json_answer({"run_status": "RUNNING", "logs": []})]
    with pytest.raises(GatewayRefused, match="an event stream was expected"):
        next(client.follow_run_logs("r1"))


def test_closing_the_client_ends_what_is_followed(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [stream_answer(log_event("7.0", "a"), then=client.close)]
    assert told(list(client.follow_run_logs("r1"))) == ["a"]
    assert len(gateway.requests) == 1
