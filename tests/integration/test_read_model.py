"""The list of runs over its whole life: loading, removals, other streams, and what is not a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pyoco_server.bridge.messages import Change
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.readmodel.table import Row, WorkerTable
from pyoco_server.service import Deadline
from pyoco_server.states import WorkerState
from tests.support.gateway import LocalGateway, problem
from tests.support.parts import Parts, stored_run
from tests.support.sse import EventStream
from tests.support.waiting import eventually

Serve = Callable[..., LocalGateway]


def listed(gateway: LocalGateway) -> set[str]:
    answer = gateway.get("/runs?limit=200")
    return {run["run_id"] for run in answer.json()} if answer.status_code == 200 else set()


def test_no_list_is_answered_before_all_of_it_is_loaded(serve: Serve, parts: Parts) -> None:
    # The newest is loaded last.
    parts.put_many([stored_run(f"run-{number}", updated_at=float(number)) for number in range(1, 3001)])
    gateway = serve()
    statuses = set()
    while True:
        answer = gateway.get("/runs?limit=1")
        statuses.add(answer.status_code)
        if answer.status_code == 200:
            break
        assert problem(answer, 503)["err_id"] == "ERR-PYOCO-0003"
        assert answer.headers["Retry-After"] == "1"
    assert statuses == {200, 503}
    assert answer.json()[0]["run_id"] == "run-3000"


def test_an_empty_installation_has_an_empty_list(local: LocalGateway) -> None:
    assert local.get("/runs").json() == []
    assert local.get("/runs?cursor=").json() == {"items": [], "next_cursor": None}


def test_whoever_has_submitted_a_run_finds_it_in_the_list(shared: LocalGateway) -> None:
    def submit_and_look(number: int) -> bool:
        run_id = shared.submit(f"flow-{number}")
        return [run["run_id"] for run in shared.get(f"/runs?flow=flow-{number}").json()] == [run_id]

    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(submit_and_look, range(300)))


def test_what_vanishes_without_a_message_leaves_the_list_in_time(
    serve: Serve, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyoco_server.readmodel.follower._RECONCILE_SEC", 0.1)
    parts.put_many([stored_run(run_id) for run_id in ("stays", "goes")])
    gateway = serve()
    gateway.wait_until_complete()
    parts.bus.api("STREAM.PURGE.KV_pyoco_runs", {"filter": "$KV.pyoco_runs.goes"})
    eventually(lambda: listed(gateway) == {"stays"}, what="the removed run leaving the list", timeout_sec=5)


def test_a_bucket_that_was_made_anew_is_read_anew_though_it_has_more_in_it(local: LocalGateway, parts: Parts) -> None:
    local.submit()
    life = local.parts.model.life
    parts.bus.api("STREAM.DELETE.KV_pyoco_runs")
    ensure_resources(parts.bus, parts.config)
    parts.put_many([stored_run(f"new-{number}") for number in range(5)])
    eventually(lambda: listed(local) == {f"new-{number}" for number in range(5)}, what="the new list", timeout_sec=5)
    assert local.parts.model.life > life
    assert local.submit() in listed(local)


def test_a_worker_that_is_removed_is_not_named_any_more(local: LocalGateway, parts: Parts) -> None:
    now = time.time()
    record = WorkerRecord("w1", "life", WorkerState.IDLE, [], updated_at=now, last_seen_at=now)
    parts.put("w1", record.to_bytes(), bucket="pyoco_workers")
    parts.put("run", stored_run("run", worker_id="w1"))
    eventually(lambda: "worker_state" in local.get("/runs/run").json(), what="the worker")
    parts.tombstone("w1", bucket="pyoco_workers")
    eventually(lambda: "worker_state" not in local.get("/runs/run").json(), what="its absence")


class OvertakenTable(WorkerTable):
    """Workers of which each is dropped by somebody else after its change was read and before it is stored."""

    def __init__(self, model: ReadModel, bucket: str) -> None:
        super().__init__(model, bucket)
        self._others = model

    def _row(self, key: str, change: Change) -> Row:
        row = super()._row(key, change)
        self._others.forget_worker(key)
        return row


def test_a_worker_that_is_dropped_while_a_change_of_it_is_read_is_known_as_the_table_holds_it(parts: Parts) -> None:
    record = WorkerRecord("w1", "life", WorkerState.IDLE, [], updated_at=1.0, last_seen_at=1.0)
    model = ReadModel(parts.bus, parts.config)
    table = OvertakenTable(model, parts.config.workers_kv_bucket)
    table.apply([Change(table.subject("w1"), record.to_bytes(), 1, is_removal=False)])
    assert table.subjects() == {table.subject("w1")}
    assert model.has_worker("w1")
    model.stop(Deadline(5))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b"[]",
        b"[" * 100_000,
        *(
            {**stored_run("odd"), **fields}
            for fields in (
                {"status": "ODD"},
                {"status": None},
                {"status": ["PENDING"]},
                {"updated_at": "now"},
                {"updated_at": 1e300},
                {"updated_at": True},
                {"submitted_at": {}},
                {"flow_name": 7},
                {"tag": ["a"]},
                {"workflow_yaml_sha256": 1},
                {"run_id": "another"},
                {"run_id": None},
            )
        ),
    ],
    ids=lambda payload: str(payload)[:12],
)
def test_what_is_no_run_is_not_listed_and_holds_up_nothing(
    shared: LocalGateway, shared_parts: Parts, payload: Any
) -> None:
    shared.wait_until_applied(shared_parts.put("odd", stored_run("odd")))
    assert len(shared.get("/runs?q=odd").json()) == 1
    shared.wait_until_applied(shared_parts.put("odd", payload))
    assert shared.get("/runs?q=odd").json() == []
    assert shared.get("/runs?include=full&q=odd").json() == []
    assert shared.get("/runs/odd").status_code in (200, 404)
    with EventStream(shared.port, "/runs/odd/watch?since=1") as stream:
        assert stream.answer.status in (200, 404)
    shared.submit()


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{", b'{"worker_id": "w"}', b'{"worker_id": "w", "last_seen_at": "now"}', b'{"state": 1}']
)
def test_what_is_no_worker_holds_up_nothing(shared: LocalGateway, shared_parts: Parts, payload: bytes) -> None:
    shared_parts.put("w", payload, bucket="pyoco_workers")
    shared_parts.put("of-w", stored_run("of-w", worker_id="w"))
    assert shared.get("/runs/of-w").status_code == 200
    assert shared.get("/ready").status_code == 200
