"""``GET /runs/{run_id}`` and ``/tasks``: what is said of one run and of the worker that has it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.states import WorkerState
from pyoco_server.stores.workers import WorkerStore
from tests.support.gateway import LocalGateway, problem
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

#: Silent for longer than a worker may be, and not for so long that its record is dropped.
_LONG_AGO = time.time() - 1000

SNAPSHOT = {
    "run_id",
    "flow_name",
    "status",
    "params",
    "tasks",
    "heartbeat_at",
    "updated_at",
    "tag",
    "tags",
    "worker_id",
    "task_records_truncated",
    "start_time",
    "end_time",
    "error",
    "tenant_id",
    "api_key_id",
    "workflow_yaml_sha256",
    "workflow_yaml_bytes",
    "cancel_requested_at",
    "cancel_requested_by",
    "attempt",
    "origin",
    "submitted_at",
}
WORKER = {"worker_alive", "worker_state", "worker_heartbeat_at", "worker_hidden", "worker_tags"}
RECORD = {
    "state": "SUCCEEDED",
    "started_at": 1.0,
    "ended_at": 2.0,
    "duration_ms": 1000.0,
    "error": None,
    "traceback": None,
    "inputs": {"x": 1},
    "output": 2,
    "artifacts": [],
}


@pytest.fixture(scope="module")
def run_id(shared_parts: Parts) -> str:
    """A run with a record, as a 0.5.1 worker leaves it."""
    document = stored_run("ended", status="COMPLETED", tasks={"load": "SUCCEEDED"}, task_records={"load": RECORD})
    shared_parts.put("ended", document)
    return "ended"


def test_a_run_that_nobody_has_begun_has_exactly_these_fields(shared: LocalGateway) -> None:
    run = shared.get(f"/runs/{shared.submit(params={'x': 1}, tags=['a'])}").json()
    assert set(run) == SNAPSHOT
    assert (run["status"], run["tasks"], run["attempt"], run["task_records_truncated"]) == ("PENDING", {}, 0, False)
    assert isinstance(run["updated_at"], float)


@pytest.mark.parametrize("include", ["records", "full", "all", "Records", "nothing,records", "full,records"])
def test_records_are_given_to_who_asks_for_them(shared: LocalGateway, run_id: str, include: str) -> None:
    run = shared.get(f"/runs/{run_id}?include={include}").json()
    assert run["task_records"] == {"load": RECORD}


@pytest.mark.parametrize("query", ["", "?include=", "?include=nothing", "?records=1", "?include=recordsfull"])
def test_records_are_left_out_otherwise(shared: LocalGateway, run_id: str, query: str) -> None:
    run = shared.get(f"/runs/{run_id}{query}").json()
    assert "task_records" not in run
    assert run["tasks"] == {"load": "SUCCEEDED"}


def test_the_tasks_of_a_run_are_answered_with_their_records(shared: LocalGateway, run_id: str) -> None:
    assert shared.get(f"/runs/{run_id}/tasks?include=nothing").json() == {
        "run_id": run_id,
        "flow_name": "main",
        "status": "COMPLETED",
        "tasks": {"load": "SUCCEEDED"},
        "task_records": {"load": RECORD},
        "task_records_truncated": False,
    }


def test_tasks_say_that_records_were_cut(shared: LocalGateway, shared_parts: Parts) -> None:
    shared_parts.put("cut", stored_run("cut", tasks={"load": "RUNNING"}, task_records_truncated=True))
    tasks = shared.get("/runs/cut/tasks").json()
    assert (tasks["task_records"], tasks["task_records_truncated"]) == ({}, True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"worker_alive": True, "worker_state": "RUNNING", "worker_hidden": False}),
        ({"state": WorkerState.IDLE}, {"worker_alive": True, "worker_state": "IDLE"}),
        (
            {"last_seen_at": _LONG_AGO},
            {"worker_alive": False, "worker_state": "DISCONNECTED", "worker_heartbeat_at": _LONG_AGO},
        ),
        (
            {"state": WorkerState.STOPPED_GRACEFUL, "last_seen_at": _LONG_AGO},
            {"worker_alive": False, "worker_state": "STOPPED_GRACEFUL"},
        ),
        ({"hidden": True, "tags": ["a", "b"]}, {"worker_hidden": True, "worker_tags": ["a", "b"]}),
    ],
    ids=lambda value: ",".join(value),
)
def test_a_run_says_how_its_worker_fares(
    shared: LocalGateway, shared_parts: Parts, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    worker_id = "-".join(["worker", *changes])
    now = time.time()
    record = WorkerRecord(worker_id, "life", WorkerState.RUNNING, ["gpu"], updated_at=now, last_seen_at=now)
    record = WorkerRecord(**{**record.__dict__, **changes})
    WorkerStore(shared_parts.bus, shared_parts.config).put(record)
    shared_parts.put(f"of-{worker_id}", stored_run(f"of-{worker_id}", status="RUNNING", worker_id=worker_id))

    def look() -> Any:
        run = shared.get(f"/runs/of-{worker_id}").json()
        return run if "worker_alive" in run else None

    run = eventually(look, what="the worker's record in the gateway")
    assert set(run) >= WORKER
    assert {name: run[name] for name in expected} == expected


def test_a_run_says_nothing_of_a_worker_that_is_not_known(shared: LocalGateway, shared_parts: Parts) -> None:
    for worker_id in (None, "", "nobody"):
        shared_parts.put("lonely", stored_run("lonely", worker_id=worker_id))
        assert not WORKER & set(shared.get("/runs/lonely").json())


def test_what_other_programs_wrote_is_passed_on_as_json_that_every_parser_reads(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    document = stored_run("odd", status="FAILED", params={"x": float("nan")}, colour={"name": "green"})
    shared.wait_until_applied(shared_parts.put("odd", document))
    for path in ("/runs/odd", "/runs?include=full&q=odd", "/runs/odd/tasks"):
        assert "NaN" not in shared.get(path).text
    run = shared.get("/runs/odd").json()
    assert (run["colour"], run["params"]) == ({"name": "green"}, {"x": None})


@pytest.mark.parametrize("suffix", ["", "?include=full", "/tasks", "/watch"])
def test_what_is_no_run_or_no_run_any_more_is_not_found(shared: LocalGateway, shared_parts: Parts, suffix: str) -> None:
    for payload in (b"", b"[]", b"{", b'{"run_id": "alien"}', b'{"run_id": "a", "flow_name": "f", "status": "ODD"}'):
        shared_parts.put("alien", payload)
        assert problem(shared.get(f"/runs/alien{suffix}"), 404)["err_id"] == "ERR-PYOCO-0005"
    for operation in ("DEL", "PURGE"):
        shared_parts.put("removed", stored_run("removed"))
        shared.wait_until_applied(shared_parts.tombstone("removed", operation))
        problem(shared.get(f"/runs/removed{suffix}"), 404)
        assert shared.get("/runs?q=removed").json() == []


@pytest.mark.parametrize(
    "fields", [{"max_attempts": "2"}, {"retry_at": "soon"}, {"retry_delay_sec": []}, {"errors": "none"}], ids=str
)
def test_a_run_with_a_policy_that_nobody_can_count_with_is_not_found(
    shared: LocalGateway, shared_parts: Parts, fields: dict[str, Any]
) -> None:
    shared_parts.put("alien", {**stored_run("alien"), **fields})
    problem(shared.get("/runs/alien"), 404)
