"""``POST /runs`` in its fast lane: the same answers as from Flask, to whatever is sent, and counted in the same way."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.fast_lane import FastLane
from pyoco_server.gateway.room import FREE_BYTES
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway
from tests.support.waiting import eventually

PLAIN = b'{"flow_name": "main", "params": {"x": 1}}'
BODIES = {
    "plain": PLAIN,
    "with a policy": b'{"flow_name": "main", "tag": "gpu", "tags": ["a"], "max_attempts": 3, "timeout_sec": 1.5}',
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "no name": b'{"params": {}}',
    "many faults": b'{"flow_name": 1, "tag": "a b", "tags": [1], "params": 3}',
    "NaN": b'{"flow_name": "main", "params": {"x": NaN}}',
    "no UTF-8": b'{"flow_name": "\xff"}',
    "deep": b'{"flow_name": "main", "params": {"x": ' + b"[" * 200 + b"]" * 200 + b"}}",
    "large": b'{"flow_name": "main", "params": {"x": "' + b"x" * FREE_BYTES + b'"}}',
    "over the cap": b'{"flow_name": "main", "params": {"x": "' + b"x" * 300_000 + b'"}}',
}
KEYS = ("right", "none", "wrong", "no key at all", "read-only")
#: What the server adds to each answer, whoever gave it.
OF_THE_SERVER = {"date", "server", "content-length"}


def call(app: Any, body: bytes, **environ: str) -> tuple[str, list[tuple[str, str]], bytes]:
    """Send a submission to a WSGI application."""
    given: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/runs",
        "CONTENT_LENGTH": str(len(body)),
        **environ,
    }
    setup_testing_defaults(given)
    given["wsgi.input"] = io.BytesIO(body)
    started: list[Any] = []
    answer = b"".join(app(given, lambda *head: started.append(head)))
    return started[0][0], started[0][1], answer


def comparable(answer: tuple[str, Iterable[tuple[str, str]], bytes]) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Give what must be the same: the id of an accepted run is not."""
    status, headers, body = answer
    document = json.loads(body)
    if "run_id" in document:
        document["run_id"] = ...
    if document.get("detail", "").startswith("The snapshot of run"):
        document["detail"] = ...
    return status, {n.lower(): v for n, v in headers if n.lower() not in OF_THE_SERVER}, document


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_answered_as_flask_answers_it(shared: LocalGateway, name: str) -> None:
    app = create_app(shared.parts)
    lane = FastLane(app, shared.parts)
    assert comparable(call(lane, BODIES[name])) == comparable(call(app, BODIES[name]))


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_key_is_answered_as_flask_answers_it(guarded: Guarded, name: str, language: str) -> None:
    right = guarded.known_key("acme")
    key = {
        "right": right,
        "none": None,
        "wrong": right[:-4] + "AAAA",
        "no key at all": "secret",
        "read-only": guarded.known_key("acme", is_read_only=True) if name == "read-only" else None,
    }[name]
    headers = {"HTTP_ACCEPT_LANGUAGE": language, **({} if key is None else {"HTTP_X_API_KEY": key})}
    app = create_app(guarded.gateway.parts)
    answer = call(FastLane(app, guarded.gateway.parts), PLAIN, **headers)
    assert comparable(answer) == comparable(call(app, PLAIN, **headers))
    assert (answer[0] == "200 OK") == (name == "right")


def test_a_run_that_may_be_stored_is_named_although_nobody_can_say_any_more_whose_key_it_is(guarded: Guarded) -> None:
    key, parts = guarded.known_key("acme"), guarded.gateway.parts
    app = create_app(parts)

    def flask(*given: Any) -> Iterable[bytes]:
        eventually(lambda: not parts.authentication.is_current, what="keys that may have been revoked")
        return app(*given)

    with guarded.nats.frozen():
        status, _, answer = call(FastLane(flask, parts), PLAIN, HTTP_X_API_KEY=key)
    assert status.startswith("503")
    document = json.loads(answer)
    guarded.gateway.wait_until_complete()
    assert guarded.gateway.with_key(key, "GET", f"/runs/{document['run_id']}").json()["status"] == "PENDING"


def test_an_error_that_flask_has_answered_is_not_kept_with_its_request(shared: LocalGateway) -> None:
    app = create_app(shared.parts)
    seen: list[dict[str, Any]] = []

    def flask(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append(environ)
        return app(environ, start_response)

    assert call(FastLane(flask, shared.parts), b"{")[0].startswith("422")
    assert [value for value in seen[0].values() if isinstance(value, Exception)] == []


def test_a_plain_submission_does_not_come_to_flask(shared: LocalGateway) -> None:
    def flask(*_: object) -> list[bytes]:
        raise AssertionError("the lane was left")

    status, headers, _ = call(FastLane(flask, shared.parts), PLAIN)
    assert status == "200 OK"
    assert dict(headers)["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_IDEMPOTENCY_KEY": "k"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "x"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"REQUEST_METHOD": "GET"},
        {"PATH_INFO": "/runs/"},
    ],
)
def test_what_the_lane_does_not_know_comes_to_flask_untouched(shared: LocalGateway, environ: dict[str, str]) -> None:
    def flask(given: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("299 Flask", [])
        return [given["wsgi.input"].read()]

    assert call(FastLane(flask, shared.parts), PLAIN, **environ) == ("299 Flask", [], PLAIN)


def test_a_failure_that_nobody_thought_of_is_a_problem_document(
    shared: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    app = create_app(shared.parts)
    monkeypatch.setattr(shared.parts.submission, "submit", fail)
    status, headers, _ = call(FastLane(app, shared.parts), PLAIN)
    assert status == "500 INTERNAL SERVER ERROR"
    assert dict(headers)["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(("body", "status"), [(PLAIN, 200), (b"{", 422)])
def test_each_request_is_counted_once(shared: LocalGateway, body: bytes, status: int) -> None:
    def count() -> float:
        labels = {"route": "/runs", "method": "POST", "status": str(status)}
        families = text_string_to_metric_families(shared.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        name = "pyoco_http_request_duration_seconds_count"
        return sum(sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))

    before = count()
    assert shared.ask("POST", "/runs", data=body).status_code == status
    assert count() == before + 1
