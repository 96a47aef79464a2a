"""The list of workers: what it shows, in which order, and what hiding and retention do to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.states import WorkerState
from pyoco_server.stores.workers import WorkerStore
from tests.support.commands import run
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

NOW = time.time()
#: When those that live were seen last: in an hour, for whole runs of the tests take longer than a worker may be silent.
LATER = NOW + 3600
WHEELS = [
    {"wheel_name": f"p{number}-1.{number}-py3-none-any.whl", "package_name": f"p{number}", "package_version": "1.0"}
    for number in range(4)
]
RECORDS: dict[str, dict[str, Any]] = {
    "idle": {"last_seen_at": LATER + 300},
    "busy": {"last_seen_at": LATER + 200, "state": "RUNNING", "wheel_sync": {"installed_wheels": WHEELS}},
    "b-same-time": {"last_seen_at": LATER + 100},
    "a-same-time": {"last_seen_at": LATER + 100},
    "hidden": {"last_seen_at": LATER + 50, "hidden": True},
    "stopped": {"last_seen_at": NOW - 200, "state": "STOPPED_GRACEFUL", "stop_reason": "graceful_shutdown"},
    "lost": {"last_seen_at": NOW - 300, "state": "RUNNING"},
    "bare": {"last_seen_at": None, "updated_at": NOW - 400},
}


@pytest.fixture(scope="module")
def fleet(shared: LocalGateway) -> Iterator[LocalGateway]:
    """A gateway that knows these workers."""
    with Parts(shared.config.nats_url) as parts:
        for worker_id, fields in RECORDS.items():
            base = {"worker_id": worker_id, "state": "IDLE", "tags": ["t"], "of_0_5_1": True}
            parts.put(worker_id, {**base, **fields}, bucket="pyoco_workers")
    eventually(lambda: len(shared.get("/workers?scope=all&include_hidden=1").json()) == 8, what="all workers")
    yield shared


def ids(gateway: LocalGateway, query: str = "") -> list[str]:
    answer = gateway.get(f"/workers{query}")
    assert answer.status_code == 200, answer.text
    return [worker["worker_id"] for worker in answer.json()]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "idle busy a-same-time b-same-time"),
        ("?scope=active&include_hidden=true", "idle busy a-same-time b-same-time hidden"),
        ("?scope=all", "idle busy a-same-time b-same-time stopped lost bare"),
        ("?state=RUNNING", "busy"),
        ("?state=running", "busy"),
        ("?state=", "idle busy a-same-time b-same-time"),
        ("?state=DISCONNECTED", ""),
        ("?scope=all&state=DISCONNECTED", "lost bare"),
        ("?scope=all&state=STOPPED_GRACEFUL", "stopped"),
        ("?limit=2", "idle busy"),
        ("?scope=all&limit=500&unknown=x", "idle busy a-same-time b-same-time stopped lost bare"),
    ],
)
def test_query_decides_which_workers_are_listed(fleet: LocalGateway, query: str, expected: str) -> None:
    assert ids(fleet, query) == expected.split()


def test_entry_is_the_record_with_the_derived_state(fleet: LocalGateway) -> None:
    (lost,) = (worker for worker in fleet.get("/workers?scope=all").json() if worker["worker_id"] == "lost")
    assert lost["state"] == "DISCONNECTED"
    assert lost["last_seen_at"] == lost["last_heartbeat_at"] == lost["heartbeat_at"] == NOW - 300
    assert lost["of_0_5_1"] is True
    assert lost["wheel_sync"]["last_result"] == "disabled"


@pytest.mark.parametrize(
    "query", ["scope=some", "state=FOO", "include_hidden=maybe", "limit=0", "limit=501", "limit=x"]
)
def test_value_that_is_wrong_is_refused_with_its_place(fleet: LocalGateway, query: str) -> None:
    assert fault_places(fleet.get(f"/workers?{query}"), "ERR-PYOCO-0019") == [f"query.{query.partition('=')[0]}"]


@pytest.mark.parametrize("body", ["", "{}", "x", "[true]", '{"hidden": "yes"}', '{"hidden": 1}', '{"hidden": null}'])
def test_body_that_says_nothing_about_hiding_is_refused(fleet: LocalGateway, body: str) -> None:
    (place,) = fault_places(fleet.ask("PATCH", "/workers/idle", data=body), "ERR-PYOCO-0019")
    assert place.startswith("body")


@pytest.mark.parametrize("worker_id", ["nobody", "*", "%3E", "a%20b", "x" * 300])
def test_worker_that_does_not_exist_is_not_found(fleet: LocalGateway, worker_id: str) -> None:
    answer = fleet.ask("PATCH", f"/workers/{worker_id}", json={"hidden": True})
    assert problem(answer, 404)["err_id"] == "ERR-PYOCO-0020"


def test_hidden_worker_is_out_of_the_list_at_once_and_keeps_the_rest_of_its_record(
    local: LocalGateway, parts: Parts
) -> None:
    parts.put("w", {"worker_id": "w", "last_seen_at": NOW + 100_000, "more": [1]}, bucket="pyoco_workers")
    eventually(lambda: ids(local) == ["w"], what="the worker")
    with PyocoHttpClient(local.url) as client:
        answer = client.patch_worker_hidden("w", True)
        assert (answer["worker_id"], answer["hidden"]) == ("w", True)
        assert answer["updated_at"] == pytest.approx(time.time(), abs=10)
        assert client.get_workers() == []
        (record,) = client.get_workers(include_hidden=True)
        assert (record["last_seen_at"], record["more"]) == (NOW + 100_000, [1])
        client.patch_worker_hidden("w", False)
        assert [worker["worker_id"] for worker in client.get_workers()] == ["w"]


def test_hiding_and_signs_of_life_do_not_lose_each_other(local: LocalGateway, parts: Parts) -> None:
    store = WorkerStore(parts.bus, parts.config)
    # Not seen at NOW, which by now may be too long ago for the list.
    record = WorkerRecord("w", "life", WorkerState.IDLE, ["t"], NOW, NOW + 100_000)
    store.put(record)
    with ThreadPoolExecutor(2) as pool:
        for turn in range(30):
            beat = pool.submit(store.put, record.seen(NOW + 100_000 + turn))
            answer = local.ask("PATCH", "/workers/w", json={"hidden": turn % 2 == 0})
            beat.result()
            assert answer.status_code == 200
            store.put(record.seen(NOW + 100_000 + turn))
            (shown,) = local.get("/workers?include_hidden=true").json() or [None]
            stored = store.get("w")
            assert stored is not None and shown is not None
            assert (stored.hidden, stored.last_seen_at) == (turn % 2 == 0, NOW + 100_000 + turn)


def test_record_of_a_worker_that_is_long_gone_is_dropped(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    now = time.time()
    for worker_id, age_sec, state in (("gone", 90, "IDLE"), ("ended", 90, "STOPPED_GRACEFUL"), ("new", 30, "IDLE")):
        fields = {"worker_id": worker_id, "last_seen_at": now - age_sec, "state": state}
        parts.put(worker_id, {**fields, "last_seen_at": now - 500}, bucket="pyoco_workers")
        parts.put(worker_id, fields, bucket="pyoco_workers")
    gateway = serve(PYOCO_WORKER_RETENTION_SEC="60")
    gateway.wait_until_complete()
    eventually(lambda: ids(gateway, "?scope=all") == ["new"], what="only the younger record")
    assert parts.keys("pyoco_workers") == {"new"}


def test_record_of_a_worker_that_lives_stays_however_short_the_retention(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    parts.put("alive", {"worker_id": "alive", "last_seen_at": time.time() - 2}, bucket="pyoco_workers")
    parts.put("gone", {"worker_id": "gone", "last_seen_at": time.time() - 90}, bucket="pyoco_workers")
    gateway = serve(PYOCO_WORKER_RETENTION_SEC="0.1")
    eventually(lambda: parts.keys("pyoco_workers") == {"alive"}, what="the end of the record of the other worker")
    # The list hears of it a moment later.
    eventually(lambda: ids(gateway, "?scope=all") == ["alive"], what="the list without it")


def test_list_is_refused_while_nats_is_away(local: LocalGateway, nats: NatsServer) -> None:
    nats.stop()
    assert problem(local.get("/workers"), 503)["err_id"] == "ERR-PYOCO-0003"
    assert problem(local.ask("PATCH", "/workers/w", json={"hidden": True}), 503)
    assert fault_places(local.ask("PATCH", "/workers/w", json={}), "ERR-PYOCO-0019")


def test_command_prints_json_a_table_and_plugins(fleet: LocalGateway, tmp_path: Path) -> None:
    def lines(*flags: str) -> list[list[str]]:
        done = run("pyoco-client", "--server", fleet.url, "workers", *flags, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return [line.split() for line in done.stdout.splitlines()]

    done = run("pyoco-client", "--server", fleet.url, "workers", "--limit", "1", cwd=tmp_path)
    assert [worker["worker_id"] for worker in json.loads(done.stdout)] == ["idle"]
    assert lines("--output", "table", "--limit", "2") == [
        ["worker_id", "state", "tags", "plugins", "plugin_preview"],
        ["idle", "IDLE", "t", "0", "-"],
        ["busy", "RUNNING", "t", "4", "p0@1.0,", "p1@1.0,", "p2@1.0,", "+1"],
    ]
    plugins = lines("--output", "plugins", "--limit", "2")
    assert plugins[0] == ["worker_id", "state", "tags", "package", "version", "wheel_name"]
    assert plugins[1] == ["idle", "IDLE", "t", "-", "-", "-"]
    assert plugins[5] == ["busy", "RUNNING", "t", "p3", "1.0", "p3-1.3-py3-none-any.whl"]
    assert len(lines("--scope", "all", "--include-hidden", "--output", "table")) == 9
    assert lines("--state", "DISCONNECTED", "--output", "table") == [["(no", "items)"]]
    refused = run("pyoco-client", "--server", fleet.url, "workers", "--limit", "0", cwd=tmp_path)
    assert refused.returncode == 1 and refused.stderr.startswith("ERR-PYOCO-HTTP HTTP 422 GET /workers")


def test_a_request_to_drain_is_kept_by_this_life_of_the_worker_alone(shared: LocalGateway, shared_parts: Parts) -> None:
    workers = WorkerStore(shared_parts.bus, shared_parts.config)
    now = time.time()
    record = WorkerRecord("drains", "first-life", WorkerState.IDLE, ["t"], now, now)
    workers.put(record)
    answer = shared.ask("POST", "/workers/drains/drain").json()
    asked_at = answer["drain_requested_at"]
    assert answer == {"worker_id": "drains", "drain_requested_at": asked_at} and asked_at >= now
    assert shared.ask("POST", "/workers/drains/drain").json() == answer
    shared.ask("PATCH", "/workers/drains", json={"hidden": True})
    assert workers.put(record).drain_requested_at == asked_at
    (listed,) = [item for item in shared.get("/workers?include_hidden=1").json() if item["worker_id"] == "drains"]
    assert listed["drain_requested_at"] == asked_at
    assert workers.put(replace(record, instance_id="second-life")).drain_requested_at is None


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"state": "STOPPED_GRACEFUL", "instance_id": "i"}, 409),
        ({"state": "RUNNING", "instance_id": "i", "last_seen_at": NOW - 500}, 409),
        ({"state": "IDLE", "last_seen_at": NOW + 100_000}, 409),
        (None, 404),
    ],
    ids=["stopped", "lost", "of-0.5.1", "unknown"],
)
def test_a_worker_that_cannot_hear_of_it_is_not_asked_to_drain(
    shared: LocalGateway, shared_parts: Parts, fields: dict[str, Any] | None, status: int
) -> None:
    if fields is not None:
        base = {"worker_id": "cannot", "tags": ["t"], "last_seen_at": NOW}
        shared_parts.put("cannot", {**base, **fields}, bucket="pyoco_workers")
    problem(shared.ask("POST", f"/workers/{'cannot' if fields else 'unknown'}/drain"), status)
