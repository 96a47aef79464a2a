"""Input that is made to harm: a clear refusal, and no larger than it needs to be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.gateway import LocalGateway, fault_places, problem

#: An answer that repeats what was sent would be as large as that.
MAX_ANSWER_BYTES = 100_000
NOT_JSON = [b"NaN", b"Infinity", b"-Infinity", b"1e999", b'"\xff"', b"[" * 100_000, b"9" * 5_000]
#: Routes that read a JSON body, with one that they take but for the value in its place.
BODIES = {
    ("POST", "/runs"): b'{"flow_name": "f", "params": {"x": %b}}',
    ("POST", "/runs/batch"): b'{"runs": [{"flow_name": "f", "params": {"x": %b}}]}',
    ("POST", "/runs/{run_id}/rerun"): b'{"from": "all", "x": %b}',
    ("POST", "/runs/{run_id}/heartbeat"): b'{"task_states": {}, "run_status": "RUNNING", "x": %b}',
    ("POST", "/workers/poll"): b'{"worker_id": "w", "x": %b}',
    ("PATCH", "/workers/{worker_id}"): b'{"hidden": true, "x": %b}',
}


def test_every_route_that_reads_json_is_tried(shared: LocalGateway) -> None:
    paths = shared.get("/openapi.json").json()["paths"]
    reads = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    }
    assert reads == set(BODIES)


@pytest.mark.parametrize("value", NOT_JSON, ids=lambda value: repr(value[:12]))
@pytest.mark.parametrize("route", BODIES, ids=" ".join)
def test_what_is_not_json_is_refused_by_every_route_that_reads_it(
    shared: LocalGateway, route: tuple[str, str], value: bytes
) -> None:
    method, path = route
    url = path.format(run_id=shared.submit(), worker_id="w")
    answer = shared.ask(method, url, data=BODIES[route].replace(b"%b", value))
    assert fault_places(answer, "ERR-PYOCO-0019" if method == "PATCH" else "ERR-PYOCO-0002") == ["body"]
    assert len(answer.content) < MAX_ANSWER_BYTES


BEAT = "/runs/{run_id}/heartbeat"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1e999", "\0", "[" * 100_000, "9" * 5_000, "x" * 100_000])
@pytest.mark.parametrize("name", ["params", "max_attempts", "retry_delay_sec", "timeout_sec", "resume"])
def test_a_field_of_a_form_is_refused_by_its_place(shared: LocalGateway, name: str, value: str) -> None:
    form = {"workflow": ("f", "flow: {graph: a}"), "flow_name": (None, "main"), name: (None, value)}
    answer = shared.ask("POST", "/runs/yaml", files=form)
    assert fault_places(answer, "ERR-PYOCO-0002") == [f"form.{name}"]
    assert len(answer.content) < MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs", {"flow_name": "f", "tags": [""] * 600_000}),
        ("/runs/batch", {"workflow": "w", "flow_name": "f", "params": [{}], "tags": [""] * 600_000}),
        ("/workers/poll", {"worker_id": "w", "tags": [""] * 600_000}),
        (BEAT, {"run_status": "RUNNING", "task_states": {str(number): "" for number in range(200_000)}}),
        (BEAT, {"run_status": "RUNNING", "task_states": {str(number): "" for number in range(9_000)}}),
        (BEAT, {"run_status": "RUNNING", "task_states": {}, "logs": [0] * 900_000}),
        (BEAT, {"run_status": "RUNNING", "task_states": {"a" * 1_000_000: ""}}),
        (
            BEAT,
            {"run_status": "RUNNING", "task_states": {}, "task_records": dict.fromkeys(map(str, range(200_000)), 0)},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else list(value)[-1],
)
def test_any_number_of_faults_is_a_short_answer(shared: LocalGateway, path: str, body: dict[str, Any]) -> None:
    data = json.dumps(body, separators=(",", ":"))
    answer = shared.ask("POST", path.format(run_id=shared.submit()), data=data)
    assert 1 <= len(fault_places(answer, "ERR-PYOCO-0002")) <= 101
    assert len(answer.content) < MAX_ANSWER_BYTES


def test_any_number_of_faults_in_a_query_is_a_short_answer(shared: LocalGateway) -> None:
    answer = shared.get("/runs?" + "status=x&" * 25_000)
    assert "query.status" in fault_places(answer, "ERR-PYOCO-0017")
    assert len(answer.content) < MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    "path", ["/runs/{}", "/runs/{}/watch", "/workers/{}", "/dead-letters/{}", "/wheels/{}", "/{}", "/ui/runs/{}"]
)
def test_an_id_of_any_length_is_not_sent_back(shared: LocalGateway, path: str) -> None:
    answer = shared.ask("PATCH" if "workers" in path else "GET", path.format("9" * 200_000), json={"hidden": True})
    assert answer.status_code == 404
    assert len(answer.content) < MAX_ANSWER_BYTES


@pytest.mark.parametrize("path", ["/runs/{}", "/{}", "/runs?q={}"])
def test_an_id_of_a_megabyte_is_refused_by_its_head(shared: LocalGateway, path: str) -> None:
    head, _, body = shared.raw(f"GET {path.format('x' * 1_000_000)} HTTP/1.1\r\n\r\n".encode()).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.0 431 ", b"HTTP/1.1 431 ")), head
    assert json.loads(body)["status"] == 431


def test_a_problem_says_what_it_is_of(shared: LocalGateway) -> None:
    assert problem(shared.get("/runs/nope"), 404)["instance"] == "/runs/nope"
