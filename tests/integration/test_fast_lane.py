"""Requests in the fast lane: the same answers as from Flask, to whatever is sent, and counted in the same way."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from pyoco_server.gateway.fast_lane import MAX_BODY_BYTES, FastLane
from tests.conftest import HELLO_FLOW
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway, problem
from tests.support.lane import comparable, from_flask, from_server
from tests.support.parts import Parts
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
    "large": b'{"flow_name": "main", "params": {"x": "' + b"x" * MAX_BODY_BYTES + b'"}}',
    "over the cap": b'{"flow_name": "main", "params": {"x": "' + b"x" * 300_000 + b'"}}',
}
KEYS = ("right", "none", "wrong", "no key at all", "read-only")
FILE = HELLO_FLOW.encode()
CURL_TYPE = "multipart/form-data; boundary=------------------------d74496d66958873e"
CURL = b"".join(
    b"--------------------------d74496d66958873e" + part
    for part in (
        b'\r\nContent-Disposition: form-data; name="workflow"; filename="flow.yaml"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + FILE + b"\r\n",
        b'\r\nContent-Disposition: form-data; name="flow_name"\r\n\r\nmain\r\n',
        b"--\r\n",
    )
)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Any]]]:
    """What is given to the lane, in a program that looks for no cycles."""
    begin, seen = FastLane.begin, list[weakref.ref[Any]]()

    def watched(lane: FastLane, received: Any, done: Any) -> bool:
        seen.append(weakref.ref(received))
        return begin(lane, received, done)

    monkeypatch.setattr(FastLane, "begin", watched)
    gc.disable()
    yield seen
    gc.enable()


@pytest.fixture
def no_flask(shared: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Has Flask answer nothing but 299; gives what comes to it."""
    seen: list[dict[str, Any]] = []

    def flask(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("299 Flask", [])
        return [environ["wsgi.input"].read()]

    monkeypatch.setattr(shared.http_server, "application", flask)
    return seen


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_answered_as_flask_answers_it(shared: LocalGateway, name: str) -> None:
    assert comparable(from_server(shared, BODIES[name], {})) == comparable(from_flask(shared, BODIES[name], {}))


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
    headers = {"Accept-Language": language, **({} if key is None else {"X-API-Key": key})}
    answer = from_server(guarded.gateway, PLAIN, headers)
    assert comparable(answer) == comparable(from_flask(guarded.gateway, PLAIN, headers))
    assert (answer[0] == "200 OK") == (name == "right")


def test_a_key_that_is_known_needs_no_flask_and_one_that_was_revoked_does(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, gateway = guarded.known_key("acme"), guarded.gateway
    with monkeypatch.context() as patched:
        patched.setattr(gateway.http_server, "application", None)
        assert gateway.with_key(key, "POST", "/runs", data=PLAIN).status_code == 200
    guarded.keys.revoke(key)
    eventually(lambda: gateway.with_key(key, "POST", "/runs", data=PLAIN).status_code == 403, what="403")


def test_a_run_that_may_be_stored_is_named_although_nobody_can_say_any_more_whose_key_it_is(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, gateway = guarded.known_key("acme"), guarded.gateway
    flask = gateway.http_server.application

    def late(*given: Any) -> Iterable[bytes]:
        eventually(lambda: not gateway.parts.authentication.is_current, what="keys that may have been revoked")
        answer: Iterable[bytes] = flask(*given)
        return answer

    with monkeypatch.context() as patched, guarded.nats.frozen():
        patched.setattr(gateway.http_server, "application", late)
        answer = gateway.with_key(key, "POST", "/runs", data=PLAIN, timeout_sec=60)
    document = problem(answer, 503)
    gateway.wait_until_complete()
    assert gateway.with_key(key, "GET", f"/runs/{document['run_id']}").json()["status"] == "PENDING"


@pytest.mark.parametrize(("method", "path"), [("POST", "/runs"), ("GET", "/runs/{}"), ("GET", "/runs/unknown")])
def test_a_request_that_was_answered_is_let_go_of_at_once(
    shared: LocalGateway, begun: list[weakref.ref[Any]], method: str, path: str
) -> None:
    path = path.format(shared.submit())
    assert shared.ask(method, path, data=PLAIN if method == "POST" else b"").status_code in (200, 404)
    eventually(lambda: [request() for request in begun] == [None, None], what="both requests let go of")


def test_an_error_that_flask_has_answered_is_not_kept_with_its_request(
    serve: Callable[..., LocalGateway], parts: Parts, begun: list[weakref.ref[Any]]
) -> None:
    gateway = serve()
    flask, seen = gateway.http_server.application, []

    def watched(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append((environ, set(environ)))
        answer: Iterable[bytes] = flask(environ, start_response)
        return answer

    gateway.http_server.application = watched
    parts.configure("PYOCO_WORK", subjects=["pyoco.elsewhere.>"])
    problem(gateway.ask("POST", "/runs", data=PLAIN), 503)
    ((environ, names),) = seen
    assert [name for name in names - set(environ) if name.startswith("pyoco_server.")] == ["pyoco_server.begun"]
    del environ
    seen.clear()
    eventually(lambda: [request() for request in begun] == [None], what="the request let go of")


@pytest.mark.parametrize("way", ["by name", "form", "text", "as curl sends it"])
def test_a_plain_submission_and_the_look_at_its_run_do_not_come_to_flask(
    shared: LocalGateway, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    path, options = {
        "by name": ("/runs", {"data": PLAIN}),
        "form": ("/runs/yaml", {"data": {"flow_name": "main"}, "files": {"workflow": ("flow.yaml", FILE)}}),
        "text": ("/runs/yaml?flow_name=main", {"data": FILE}),
        "as curl sends it": ("/runs/yaml", {"data": CURL, "headers": {"Content-Type": CURL_TYPE}}),
    }[way]
    # A text that is new is stored first.
    assert shared.ask("POST", path, **options).status_code == 200
    monkeypatch.setattr(shared.http_server, "application", None)
    answer = shared.ask("POST", path, **options)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["status"] == "PENDING"
    assert shared.get(f"/runs/{answer.json()['run_id']}").json()["status"] == "PENDING"


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/runs", {"Idempotency-Key": "k"}),
        ("POST", "/runs", {"Transfer-Encoding": "chunked"}),
        ("GET", "/runs", {}),
        ("PUT", "/runs", {}),
        ("POST", "/runs/", {}),
        ("POST", "//runs", {}),
        ("GET", "/runs/x?include=records", {}),
        ("GET", "/runs/x/tasks", {}),
        ("HEAD", "/runs/x", {}),
        ("POST", "/runs/yaml", {"Content-Type": "multipart/form-data; boundary=b"}),
        ("POST", "/runs/yaml?flow_name=main", {"Content-Type": "text/plain"}),
    ],
)
def test_what_the_lane_does_not_know_comes_to_flask_untouched(
    shared: LocalGateway, no_flask: list[dict[str, Any]], method: str, path: str, headers: dict[str, str]
) -> None:
    body: Any = iter([PLAIN]) if "Transfer-Encoding" in headers else PLAIN
    answer = requests.request(method, shared.url + path, data=body, headers=headers, timeout=30)
    assert (answer.status_code, answer.content) == (299, b"" if method == "HEAD" else PLAIN)
    assert len(no_flask) == 1


def test_a_failure_that_nobody_thought_of_is_a_problem_document(
    shared: LocalGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(shared.parts.submission, "begin", fail)
    monkeypatch.setattr(shared.parts.submission, "submit", fail)
    problem(shared.ask("POST", "/runs", data=PLAIN), 500)


@pytest.mark.parametrize(
    ("method", "path", "route", "body", "status"),
    [
        ("POST", "/runs", "/runs", PLAIN, 200),
        ("POST", "/runs", "/runs", b"{", 422),
        ("POST", "/runs/yaml?flow_name=main", "/runs/yaml", FILE, 200),
        ("GET", "/runs/{}", "/runs/<run_id>", b"", 200),
        ("GET", "/runs/unknown", "/runs/<run_id>", b"", 404),
    ],
)
def test_each_request_is_counted_once(
    shared: LocalGateway, method: str, path: str, route: str, body: bytes, status: int
) -> None:
    def count() -> float:
        labels = {"route": route, "method": method, "status": str(status)}
        families = text_string_to_metric_families(shared.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples]
        name = "pyoco_http_request_duration_seconds_count"
        return sum(sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))

    path = path.format(shared.submit())
    before = count()
    assert shared.ask(method, path, data=body).status_code == status
    assert count() == before + 1
