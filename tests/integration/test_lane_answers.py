"""Workflows and looks at runs in the fast lane: the same answers as from Flask, to whatever is sent."""

from __future__ import annotations

from typing import Any

import pytest

from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.gateway.fast_lane import MAX_BODY_BYTES
from pyoco_server.states import WorkerState
from tests.conftest import HELLO_FLOW
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway
from tests.support.lane import comparable, from_flask, from_server
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

FILE = HELLO_FLOW.encode()
WARNING = FILE.replace(b"  to_text:\n    callable", b"  unused:\n    callable: a.b:c\n  to_text:\n    callable")


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + end


NAME, TAG = b'name="flow_name"\r\n\r\nmain', b'name="tag"\r\n\r\ngpu'
WORKFLOW = b'name="workflow"; filename="flow.yaml"\r\nContent-Type: application/yaml\r\n\r\n' + FILE
FORMS = {
    "plain": form(NAME, TAG, WORKFLOW),
    "no end of line at the end": form(WORKFLOW, NAME, end=b"--b--"),
    "with params": form(WORKFLOW, NAME, b'name="params"\r\n\r\n{"x": 5}', b'name="max_attempts"\r\n\r\n3'),
    "no params": form(WORKFLOW, NAME, b'name="params"\r\n\r\n{'),
    "twice": form(NAME, b'name="flow_name"\r\n\r\nother', WORKFLOW, WORKFLOW.replace(FILE, b"x")),
    "empty": form(b'name="flow_name"\r\n\r\n', WORKFLOW),
    "no name": form(WORKFLOW),
    "a field, no file": form(NAME, b'name="workflow"\r\n\r\n' + FILE),
    "no workflow": form(NAME),
    "faults": form(b'name="flow_name"\r\n\r\nmain', b'name="tag"\r\n\r\na b', WORKFLOW),
    "a wrong workflow": form(NAME, WORKFLOW.replace(b"add_one >>", b"add_one >> >>")),
    "a warning": form(NAME, WORKFLOW.replace(FILE, WARNING)),
    "cut off": form(NAME, WORKFLOW)[:-30],
    "large": form(NAME, WORKFLOW + b"#" * MAX_BODY_BYTES),
}
QUERIES = {
    "plain": ("flow_name=main&tag=gpu", "application/yaml"),
    "twice": ("flow_name=main&flow_name=other", "text/plain"),
    "as curl says": ("flow_name=main", "application/x-www-form-urlencoded"),
    "quoted": ("flow_name=a%20b&params=%7B%22x%22%3A%205%7D", "text/plain"),
    "nothing": ("", "text/plain"),
    "empty": ("flow_name=&tag=", "text/plain"),
    "a fault": ("flow_name=main&max_attempts=no", "text/plain"),
    "JSON": ("flow_name=main", "application/json"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_answered_as_flask_answers_it(shared: LocalGateway, name: str) -> None:
    body, headers, path = FORMS[name], {"Content-Type": "multipart/form-data; boundary=b"}, "/runs/yaml"
    # By the second time its text is known.
    for _ in range(2):
        answer = comparable(from_server(shared, body, headers, path))
        assert answer == comparable(from_flask(shared, body, headers, path))


@pytest.mark.parametrize("name", QUERIES)
def test_a_text_alone_is_answered_as_flask_answers_it(shared: LocalGateway, name: str) -> None:
    query, kind = QUERIES[name]
    for _ in range(2):
        answer = comparable(from_server(shared, FILE, {"Content-Type": kind}, f"/runs/yaml?{query}"))
        assert answer == comparable(from_flask(shared, FILE, {"Content-Type": kind}, f"/runs/yaml?{query}"))


@pytest.mark.parametrize(
    "fields",
    [{}, {"worker_id": "w1", "status": "RUNNING"}, {"worker_id": "a b"}, {"params": {"x": "x" * 40_000}}],
    ids=["alone", "with a worker", "with no worker", "large"],
)
def test_a_run_is_read_as_by_flask(shared: LocalGateway, shared_parts: Parts, fields: dict[str, Any]) -> None:
    run_id = shared.submit()
    shared_parts.put(
        "w1", WorkerRecord("w1", "life", WorkerState.IDLE, [], 1.0, 1.0).to_bytes(), bucket="pyoco_workers"
    )
    eventually(lambda: shared.parts.model.worker("w1") is not None, what="the worker being known")
    shared_parts.put(run_id, stored_run(run_id, task_records={"a": {}}, **fields))
    for query, has_records in (("", False), ("?include=records", True)):
        path = f"/runs/{run_id}{query}"
        answer = comparable(from_server(shared, b"", {}, path, "GET"))
        assert answer == comparable(from_flask(shared, b"", {}, path, "GET"))
        assert answer[0] == "200 OK"
        assert ("task_records" in answer[2]) == has_records
    assert ("worker_state" in answer[2]) == (fields.get("worker_id") == "w1")


@pytest.mark.parametrize("run_id", ["unknown", "yaml", "a b", "x" * 300, "%C3%A9", "a%2Fb", ".a", "gone"])
def test_a_run_that_there_is_not_is_answered_as_flask_answers_it(
    shared: LocalGateway, shared_parts: Parts, run_id: str
) -> None:
    if run_id == "gone":
        shared_parts.put(run_id, b"")
    path = f"/runs/{run_id}"
    answer = comparable(from_server(shared, b"", {}, path, "GET"))
    assert answer == comparable(from_flask(shared, b"", {}, path, "GET"))
    assert answer[0] == "404 NOT FOUND"


def test_a_run_of_another_tenant_is_not_found(guarded: Guarded) -> None:
    mine, other = guarded.known_key("acme"), guarded.known_key("zeta")
    path = f"/runs/{guarded.gateway.submit_with(mine)}"
    for key, status in ((mine, "200 OK"), (other, "404 NOT FOUND")):
        answer = comparable(from_server(guarded.gateway, b"", {"X-API-Key": key}, path, "GET"))
        assert answer == comparable(from_flask(guarded.gateway, b"", {"X-API-Key": key}, path, "GET"))
        assert answer[0] == status
