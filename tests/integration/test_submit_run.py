"""``POST /runs``: what is accepted, what is stored, and how everything else is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pyoco_server.gateway.inputs import MAX_NESTING
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.parts import Parts


def test_an_accepted_run_is_stored_as_pending_and_its_job_queued(local: LocalGateway, parts: Parts) -> None:
    answer = local.ask("POST", "/runs", json={"flow_name": "main", "params": {"x": 1}, "tag": "hello", "tags": ["a"]})
    assert answer.status_code == 200
    assert set(answer.json()) == {"run_id", "status"}
    assert answer.json()["status"] == "PENDING"
    run_id = answer.json()["run_id"]

    stored = parts.snapshot(run_id)
    assert stored["updated_at"] == stored["heartbeat_at"]
    expected = {
        "run_id": run_id,
        "flow_name": "main",
        "tag": "hello",
        "tags": ["a"],
        "status": "PENDING",
        "params": {"x": 1},
        "tasks": {},
        "task_records": {},
        "worker_id": None,
        "start_time": None,
        "end_time": None,
        "error": None,
        "tenant_id": None,
        "api_key_id": None,
        "cancel_requested_at": None,
    }
    assert {name: stored[name] for name in expected} == expected

    (job,) = parts.jobs()
    assert job.subject == "pyoco.work.hello"
    assert job.headers["Nats-Msg-Id"] == run_id
    document = json.loads(job.payload)
    assert document.pop("submitted_at") == pytest.approx(stored["updated_at"], abs=1)
    assert document == {
        "run_id": run_id,
        "flow_name": "main",
        "tag": "hello",
        "tags": ["a"],
        "params": {"x": 1},
        "tenant_id": None,
        "api_key_id": None,
    }


@pytest.mark.parametrize("body", [{}, {"tags": None}, {"tags": []}, {"tag": None, "params": {}}])
def test_tag_and_tags_have_defaults(local: LocalGateway, body: dict[str, Any]) -> None:
    run = local.get(f"/runs/{local.submit(**body)}").json()
    assert (run["tag"], run["tags"], run["params"]) == ("default", ["default"], {})


def test_tags_default_to_the_tag_that_was_given(local: LocalGateway) -> None:
    assert local.get(f"/runs/{local.submit(tag='gpu', tags=[])}").json()["tags"] == ["gpu"]


def test_the_content_type_of_a_json_body_does_not_matter(local: LocalGateway) -> None:
    for kind in ("application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded", ""):
        answer = local.ask("POST", "/runs", data=b'{"flow_name": "main"}', headers={"Content-Type": kind})
        assert answer.status_code == 200, kind


def test_unknown_fields_are_ignored_and_of_equal_keys_the_last_counts(local: LocalGateway) -> None:
    answer = local.ask("POST", "/runs", data=b'{"flow_name": "a", "priority": 9, "flow_name": "b"}')
    assert local.get(f"/runs/{answer.json()['run_id']}").json()["flow_name"] == "b"


def test_a_byte_order_mark_before_the_json_is_taken(local: LocalGateway) -> None:
    assert local.ask("POST", "/runs", data=b'\xef\xbb\xbf{"flow_name": "main"}').status_code == 200


def test_text_of_any_script_and_large_whole_numbers_arrive_as_they_were_sent(local: LocalGateway) -> None:
    params = {"名前": "日本語 \U0001f680", "nul": "a\u0000b", "big": 10**300, "list": [1.5, None, True]}
    assert local.get(f"/runs/{local.submit('フロー', params=params)}").json()["params"] == params


LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "body.flow_name"),
        ({"flow_name": None}, "body.flow_name"),
        ({"flow_name": ""}, "body.flow_name"),
        ({"flow_name": 7}, "body.flow_name"),
        ({"flow_name": "a\u0000b"}, "body.flow_name"),
        ({"flow_name": "a\nb"}, "body.flow_name"),
        ({"flow_name": "\ud800"}, "body.flow_name"),
        ({"flow_name": "x" * 257}, "body.flow_name"),
        ({"flow_name": LONG}, "body.flow_name"),
        ({"flow_name": "f", "params": None}, "body.params"),
        ({"flow_name": "f", "params": []}, "body.params"),
        ({"flow_name": "f", "params": "{}"}, "body.params"),
        ({"flow_name": "f", "tag": ""}, "body.tag"),
        ({"flow_name": "f", "tag": "a.b"}, "body.tag"),
        ({"flow_name": "f", "tag": "a*"}, "body.tag"),
        ({"flow_name": "f", "tag": ">"}, "body.tag"),
        ({"flow_name": "f", "tag": "a b"}, "body.tag"),
        ({"flow_name": "f", "tag": "ok\n"}, "body.tag"),
        ({"flow_name": "f", "tag": "ä"}, "body.tag"),
        ({"flow_name": "f", "tag": "x" * 129}, "body.tag"),
        ({"flow_name": "f", "tag": LONG}, "body.tag"),
        ({"flow_name": "f", "tag": 1}, "body.tag"),
        ({"flow_name": "f", "tags": "a"}, "body.tags"),
        ({"flow_name": "f", "tags": ["a", 1]}, "body.tags.1"),
        ({"flow_name": "f", "tags": ["a", "b\u0000"]}, "body.tags.1"),
    ],
    ids=lambda value: str(value)[:40].encode("unicode_escape").decode(),
)
def test_a_field_that_is_wrong_is_refused_by_its_place(shared: LocalGateway, body: dict[str, Any], place: str) -> None:
    answer = shared.ask("POST", "/runs", data=json.dumps(body))
    assert fault_places(answer, "ERR-PYOCO-0002") == [place]
    assert len(answer.content) < 2000


def test_every_fault_of_a_body_is_named_at_once(shared: LocalGateway) -> None:
    answer = shared.ask("POST", "/runs", json={"params": 1, "tag": "a.b"})
    assert fault_places(answer, "ERR-PYOCO-0002") == ["body.flow_name", "body.params", "body.tag"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"{'flow_name': 'main'}",
        b'{"flow_name": "f", "params": {"x": NaN}}',
        b'{"flow_name": "f", "params": {"x": -Infinity}}',
        b'{"flow_name": "f", "params": {"x": 1e999}}',
        b'{"flow_name": "f", "params": {"x": ' + b"9" * 5000 + b"}}",
        b'{"flow_name": "\xff"}',
        '{"flow_name": "main"}'.encode("utf-16"),
        b'{"flow_name": "\xed\xa0\x80"}',
        b"[" * 100_000,
        b'{"flow_name": "f", "params": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"flow_name": "f", "params": {"x": ' + b"[" * MAX_NESTING + b"]" * MAX_NESTING + b"}}",
    ],
    ids=lambda value: repr(value[:40]),
)
def test_a_body_that_is_not_a_json_object_is_refused_with_422(shared: LocalGateway, body: bytes) -> None:
    answer = shared.ask("POST", "/runs", data=body)
    assert fault_places(answer, "ERR-PYOCO-0002") == ["body"]


def test_json_as_deep_as_is_allowed_goes_all_the_way(local: LocalGateway) -> None:
    levels = MAX_NESTING - 2
    body = b'{"flow_name": "f", "params": {"x": ' + b"[" * levels + b"]" * levels + b"}}"
    run_id = local.ask("POST", "/runs", data=body).json()["run_id"]
    assert local.get(f"/runs/{run_id}").status_code == 200
    assert [run["run_id"] for run in local.get("/runs?include=full").json()] == [run_id]


def test_params_over_the_cap_are_refused_and_nothing_is_left_behind(local: LocalGateway, parts: Parts) -> None:
    answer = local.ask("POST", "/runs", json={"flow_name": "main", "params": {"x": "y" * 262_144}})
    document = problem(answer, 413)
    assert document["err_id"] == "ERR-PYOCO-0010"
    assert "PYOCO_MAX_RUN_SNAPSHOT_BYTES is 262144, of which 1024 are" in document["detail"]
    assert parts.keys() == set()
    assert parts.jobs() == []


def test_a_run_that_nats_does_not_carry_is_refused_and_the_connection_survives(serve: Any, parts: Parts) -> None:
    gateway = serve(PYOCO_MAX_RUN_SNAPSHOT_BYTES="4000000")
    room = parts.bus.max_payload_bytes
    # Around the limit: with its headers a message may be too large although its payload is not.
    for size in (room - 900, room - 600, room - 500, room - 400, room - 300, room + 1):
        answer = gateway.ask("POST", "/runs", json={"flow_name": "main", "params": {"x": "y" * size}})
        assert answer.status_code in (200, 413), answer.text
    assert answer.status_code == 413
    assert gateway.submit()
    assert {json.loads(job.payload)["run_id"] for job in parts.jobs()} == parts.keys()


def test_twenty_clients_at_once_are_all_served(local: LocalGateway, parts: Parts) -> None:
    with ThreadPoolExecutor(20) as clients:
        run_ids = list(clients.map(lambda number: local.submit(params={"number": number}), range(100)))
    assert len(set(run_ids)) == 100
    assert parts.keys() == set(run_ids)
    assert {json.loads(job.payload)["run_id"] for job in parts.jobs()} == set(run_ids)
