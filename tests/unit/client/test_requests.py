"""What the HTTP client sends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.errors import InvalidInput
from tests.support.fake_gateway import FakeGateway, json_answer


def test_submit_run_sends_only_what_was_given(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [json_answer({"run_id": "r1", "status": "PENDING"})]
    assert client.submit_run("main") == {"run_id": "r1", "status": "PENDING"}
    client.submit_run("main", {"x": 1}, tag="gpu", tags=["a"])
    first, second = (json.loads(request.body) for request in gateway.requests)
    assert first == {"flow_name": "main", "params": {}}
    assert second == {"flow_name": "main", "params": {"x": 1}, "tag": "gpu", "tags": ["a"]}
    assert gateway.requests[0].headers["content-type"] == "application/json"


def test_how_a_run_is_tried_and_named_is_sent_by_each_call_that_takes_it(
    gateway: FakeGateway, client: PyocoHttpClient
) -> None:
    gateway.answers = [json_answer({"run_id": "r1", "status": "PENDING", "runs": [{}]})]
    client.submit_run("main", max_attempts=3, retry_delay_sec=0.5, timeout_sec=60, resume=False, idempotency_key="k")
    client.submit_run_yaml("a: 1", flow_name="main", max_attempts=3, timeout_sec=0, resume=True, idempotency_key="k")
    client.submit_batch_yaml("a: 1", [{"x": 1}], flow_name="main", tag="t", retry_delay_sec=2)
    client.rerun("r1", from_failed=True, idempotency_key="k")
    by_name, by_file, batch, again = gateway.requests
    policy = {"max_attempts": 3, "retry_delay_sec": 0.5, "timeout_sec": 60, "resume": False}
    assert json.loads(by_name.body) == {"flow_name": "main", "params": {}, **policy}
    for field in (b'"max_attempts"\r\n\r\n3\r\n', b'"timeout_sec"\r\n\r\n0\r\n', b'"resume"\r\n\r\ntrue\r\n'):
        assert field in by_file.body
    assert b"retry_delay_sec" not in by_file.body
    given = {"workflow": "a: 1", "flow_name": "main", "params": [{"x": 1}], "tag": "t", "retry_delay_sec": 2}
    assert json.loads(batch.body) == given
    assert (again.path, json.loads(again.body)) == ("/runs/r1/rerun", {"from": "failed"})
    assert [request.headers.get("idempotency-key") for request in gateway.requests] == ["k", "k", None, "k"]


@pytest.mark.parametrize("value", [float("nan"), {1, 2}])
def test_a_parameter_that_json_cannot_carry_is_not_sent(
    gateway: FakeGateway, client: PyocoHttpClient, value: object
) -> None:
    with pytest.raises(InvalidInput, match="JSON values"):
        client.submit_run("main", {"x": value})
    assert gateway.requests == []


def test_submit_run_yaml_sends_the_file_byte_for_byte(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [json_answer({"run_id": "r1", "status": "PENDING"})]
    client.submit_run_yaml("a: あ\r\nb: 1\n", flow_name="main", tag="hello")
    request = gateway.requests[0]
    assert request.path == "/runs/yaml"
    assert "a: あ\r\nb: 1\n".encode() in request.body
    assert b'name="workflow"; filename="flow.yaml"' in request.body
    assert b'name="flow_name"\r\n\r\nmain\r\n' in request.body
    assert b'name="tag"\r\n\r\nhello\r\n' in request.body


def test_reads_ask_the_routes_of_the_contract(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [json_answer({})]
    client.get_run("r/1 あ")
    client.get_run_with_records("r1")
    client.get_tasks("r1")
    asked = [(request.path, request.query) for request in gateway.requests]
    assert asked == [
        ("/runs/r%2F1%20%E3%81%82", {}),
        ("/runs/r1", {"include": ["records"]}),
        ("/runs/r1/tasks", {}),
    ]


@pytest.mark.parametrize("run_id", ["", ".", ".."])
def test_an_id_that_would_name_another_route_is_refused(
    gateway: FakeGateway, client: PyocoHttpClient, run_id: str
) -> None:
    for read in (client.get_run, client.get_tasks, client.watch_run):
        with pytest.raises(InvalidInput):
            read(run_id)
    assert gateway.requests == []


def test_list_runs_leaves_out_what_was_not_given(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [json_answer([{"run_id": "r1"}])]
    assert client.list_runs(status="FAILED", full=True, limit=2) == [{"run_id": "r1"}]
    assert gateway.requests[0].query == {"status": ["FAILED"], "include": ["full"], "limit": ["2"]}


def test_list_runs_vnext_always_asks_for_pages(gateway: FakeGateway, client: PyocoHttpClient) -> None:
    gateway.answers = [json_answer({"items": [{"run_id": "r1"}], "next_cursor": "c"})]
    assert client.list_runs_vnext() == {"items": [{"run_id": "r1"}], "next_cursor": "c"}
    client.list_runs_vnext(cursor="c", limit=1)
    assert [request.query for request in gateway.requests] == [
        {"updated_after": ["0.0"]},
        {"cursor": ["c"], "limit": ["1"]},
    ]


@pytest.mark.parametrize("given", [{"tags": "gpu"}, {"filename": 'a"b.whl'}])
def test_a_wheel_whose_tags_or_name_make_no_sense_is_not_sent(
    gateway: FakeGateway, client: PyocoHttpClient, given: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        client.upload_wheel(**{"filename": "a-1-py3-none-any.whl", "data": b"", **given})
    assert gateway.requests == []


def test_the_api_key_goes_out_in_the_header_that_was_named(gateway: FakeGateway) -> None:
    gateway.answers = [json_answer({})]
    with PyocoHttpClient(gateway.url + "/", api_key="k.s", api_key_header="X-Team") as client:
        client.get_run("r1")
    assert gateway.requests[0].headers["x-team"] == "k.s"
    assert gateway.requests[0].path == "/runs/r1"


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidInput) as caught:
        PyocoHttpClient(api_key="se\ncret")
    assert "cret" not in str(caught.value)
