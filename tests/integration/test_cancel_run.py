"""Cancelling runs that no worker executes: what the route answers, and what the gateway does after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.contract.jobs import Job
from pyoco_server.operations.claim import Claims, Verdict
from pyoco_server.operations.holder import Holders
from pyoco_server.states import RunStatus
from pyoco_server.stores.workers import WorkerStore
from tests.support.gateway import LocalGateway, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually


def cancel(gateway: LocalGateway, run_id: str) -> dict[str, Any]:
    answer = gateway.ask("POST", f"/runs/{run_id}/cancel")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def cancelled(gateway: LocalGateway, run_id: str, timeout_sec: float = 20.0) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        run: dict[str, Any] = gateway.get(f"/runs/{run_id}").json()
        return run if run["status"] == "CANCELLED" else None

    return eventually(look, what="the run being CANCELLED", timeout_sec=timeout_sec)


def has_job(parts: Parts, run_id: str) -> bool:
    return any(run_id.encode() in job.payload for job in parts.jobs())


def record(worker_id: str, **fields: Any) -> dict[str, Any]:
    """Make a worker's record as 0.5.1 stores it."""
    now = time.time()
    return {
        "worker_id": worker_id,
        "instance_id": "life",
        "state": "RUNNING",
        "tags": ["default"],
        "last_seen_at": now,
        "updated_at": now,
        **fields,
    }


def test_run_that_nobody_has_begun_is_cancelled_within_a_second_and_leaves_the_queue(
    local: LocalGateway, parts: Parts
) -> None:
    others = [local.submit() for _ in range(5)]
    run_id = local.submit()
    marked = cancel(local, run_id)
    answered_at = time.monotonic()
    assert marked["status"] == "CANCELLING"
    assert marked["cancel_requested_by"] is None
    assert "task_records" not in marked
    ended = cancelled(local, run_id)
    assert time.monotonic() - answered_at < 1
    assert ended["error"] is None
    assert ended["cancel_requested_at"] == marked["cancel_requested_at"]
    assert ended["end_time"] >= ended["cancel_requested_at"]
    eventually(lambda: not has_job(parts, run_id), what="its job leaving the queue")
    assert [has_job(parts, other) for other in others] == [True] * 5
    assert {parts.snapshot(other)["status"] for other in others} == {"PENDING"}


def test_cancelled_run_comes_first_in_the_list_as_soon_as_the_answer_is_there(local: LocalGateway) -> None:
    run_id = local.submit()
    local.submit()
    cancel(local, run_id)
    first = local.get("/runs?limit=1").json()[0]
    assert (first["run_id"], first["status"] in ("CANCELLING", "CANCELLED")) == (run_id, True)


def test_twenty_cancels_at_once_are_one(local: LocalGateway, parts: Parts) -> None:
    run_id = local.submit()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: local.ask("POST", f"/runs/{run_id}/cancel"), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["cancel_requested_at"] for answer in answers}) == 1
    cancelled(local, run_id)
    # PENDING, CANCELLING, CANCELLED: three writes, whoever asked.
    assert parts.info("KV_pyoco_runs")["state"]["last_seq"] == 3


def test_cancel_of_a_terminal_run_answers_it_as_it_is(local: LocalGateway, parts: Parts) -> None:
    for status in ("COMPLETED", "FAILED", "CANCELLED"):
        parts.put(status, stored_run(status, status=status, end_time=5.0, updated_at=5.0))
        before = parts.snapshot(status)
        answer = cancel(local, status)
        assert (answer["status"], answer["end_time"], answer["cancel_requested_at"]) == (status, 5.0, None)
        assert parts.snapshot(status) == before


def test_cancel_that_finds_the_run_ended_by_another_cancel_answers_it_as_marked(
    local: LocalGateway, parts: Parts
) -> None:
    run_id = local.submit()
    found = parts.runs.get(run_id)
    first = cancel(local, run_id)
    cancelled(local, run_id)
    answer = local.parts.cancellation.request(found, requested_by=None, now=time.time()).snapshot
    assert (answer.status, answer.end_time) == (RunStatus.CANCELLING, None)
    assert answer.cancel_requested_at == first["cancel_requested_at"]


def test_second_cancel_keeps_the_time_of_the_first(local: LocalGateway, parts: Parts) -> None:
    parts.put("w", record("w"), bucket="pyoco_workers")
    parts.put("r", stored_run("r", status="RUNNING", worker_id="w", instance_id="life", heartbeat_at=7.0))
    first, second = cancel(local, "r"), cancel(local, "r")
    assert first["status"] == second["status"] == "CANCELLING"
    assert first["cancel_requested_at"] == second["cancel_requested_at"]
    # A cancel is no sign of life of the worker.
    assert second["heartbeat_at"] == 7.0


def test_unknown_run_is_not_found(local: LocalGateway) -> None:
    assert problem(local.ask("POST", "/runs/nope/cancel"), 404)["err_id"] == "ERR-PYOCO-0005"


def test_cancel_while_nats_is_away_is_unavailable_at_once(local: LocalGateway, nats: NatsServer) -> None:
    run_id = local.submit()
    nats.stop()
    began_at = time.monotonic()
    answer = local.ask("POST", f"/runs/{run_id}/cancel")
    assert problem(answer, 503)["err_id"] == "ERR-PYOCO-0003"
    assert answer.headers["Retry-After"]
    assert time.monotonic() - began_at < 5
    nats.start()
    local.wait_until_complete()
    assert cancel(local, run_id)["status"] == "CANCELLING"
    cancelled(local, run_id)


def test_mark_that_a_gateway_left_behind_is_completed_by_the_next_one(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    """As of a 0.5.1 gateway, whose jobs and snapshots do not say when they were submitted."""
    for number in range(20):
        run_id = f"r{number}"
        parts.put(run_id, stored_run(run_id, status="CANCELLING" if number == 13 else "PENDING"))
        job = {"run_id": run_id, "flow_name": "main", "tag": "default", "tags": [], "params": {}}
        parts.bus.write(Write("pyoco.work.default", str(job).replace("'", '"').encode()))
    cancelled(serve(), "r13")
    eventually(lambda: not has_job(parts, "r13"), what="its job leaving the queue")
    assert len(parts.jobs()) == 19


def test_cancelled_run_that_has_become_too_large_to_be_written_is_ended(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    parts.put("r", stored_run("r", status="CANCELLING", params={"x": "y" * 100_000}))
    # Its operator has lowered the cap since.
    gateway = serve(PYOCO_MAX_RUN_SNAPSHOT_BYTES="4096")
    assert cancelled(gateway, "r")["params"] == {}


@pytest.mark.parametrize("ahead_sec", [5, 1000])
def test_job_is_found_also_when_the_clock_of_its_gateway_was_wrong(
    local: LocalGateway, parts: Parts, ahead_sec: float
) -> None:
    run_id = local.submit()
    parts.change(run_id, submitted_at=time.time() + ahead_sec)
    cancel(local, run_id)
    cancelled(local, run_id)
    eventually(lambda: not has_job(parts, run_id), what="its job leaving the queue")


@pytest.mark.parametrize("end", [{"state": "STOPPED_GRACEFUL"}, {"lost_at": 5.0}, {"instance_id": "another life"}])
def test_cancelled_run_whose_worker_is_known_to_be_gone_is_ended_without_waiting(
    local: LocalGateway, parts: Parts, end: dict[str, Any]
) -> None:
    parts.put("w", record("w", **end), bucket="pyoco_workers")
    parts.put(
        "r",
        stored_run("r", status="RUNNING", worker_id="w", instance_id="life", tasks={"a": "RUNNING", "b": "PENDING"}),
    )
    cancel(local, "r")
    ended = cancelled(local, "r", timeout_sec=5)
    assert ended["tasks"] == {"a": "CANCELLED", "b": "PENDING"}


@pytest.mark.long
def test_cancelled_run_of_a_silent_worker_is_ended_after_the_disconnect_timeout(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    gateway = serve(PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC="3")
    gateway.wait_until_complete()
    # As a worker of 0.5.1 writes it.
    parts.put("r", stored_run("r", status="RUNNING", start_time=time.time()))
    cancel(gateway, "r")
    marked_at = time.monotonic()
    cancelled(gateway, "r", timeout_sec=10)
    assert time.monotonic() - marked_at >= 2.9


@pytest.mark.long
@pytest.mark.parametrize("holder", [{"worker_id": "w"}, {"start_time": 100.0}], ids=["ours", "of 0.5.1"])
def test_run_whose_holder_lives_is_left_to_it(
    serve: Callable[..., LocalGateway], parts: Parts, holder: dict[str, Any]
) -> None:
    gateway = serve(PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC="1.5")
    gateway.wait_until_complete()
    parts.put("r", stored_run("r", status="RUNNING", **holder))
    cancel(gateway, "r")
    end = time.monotonic() + 5
    while time.monotonic() < end:
        # Its sign of life; the gateway looks at holders every two seconds.
        time.sleep(0.3)
        parts.change("r", heartbeat_at=time.time())
    assert parts.snapshot("r")["status"] == "CANCELLING"


def test_run_that_a_worker_of_0_5_1_executes_is_not_claimed_beside_it(parts: Parts) -> None:
    """It writes no worker id: a run without one is not for the taking once it has begun."""
    parts.queue.ensure("default")
    holders = Holders(parts.runs, WorkerStore(parts.bus, parts.config), disconnect_timeout_sec=20, cancel_grace_sec=30)
    claims = Claims(parts.runs, holders, worker_id="w", instance_id="life", is_active=lambda run_id: True)
    job = Job("r", "main", "default")
    parts.queue.publish(job)
    delivery = eventually(lambda: parts.queue.pull("default", wait_sec=0.2), what="the job")
    for status in ("RUNNING", "CANCELLING"):
        parts.put("r", stored_run("r", status=status, start_time=100.0))
        assert claims.claim(job, delivery, time.time()).verdict is Verdict.WAIT


def test_cancel_and_claim_at_the_same_moment_leave_one_winner(local: LocalGateway, parts: Parts) -> None:
    workers = WorkerStore(parts.bus, parts.config)
    holders = Holders(parts.runs, workers, disconnect_timeout_sec=20, cancel_grace_sec=30)
    parts.queue.ensure("default")
    claims = Claims(parts.runs, holders, worker_id="w", instance_id="life", is_active=lambda run_id: True)
    winners = {"claim": 0, "cancel": 0}
    with ThreadPoolExecutor(2) as pool:
        for turn in range(60):
            run_id = local.submit()
            delivery = eventually(lambda: parts.queue.pull("default", wait_sec=0.2), what="the job")
            job = Job.from_bytes(delivery.payload)
            if turn % 2:
                claiming = pool.submit(claims.claim, job, delivery, time.time())
                cancelling = pool.submit(cancel, local, run_id)
            else:
                cancelling = pool.submit(cancel, local, run_id)
                time.sleep(0.001 * (turn % 8))
                claiming = pool.submit(claims.claim, job, delivery, time.time())
            verdict, marked = claiming.result().verdict, cancelling.result()
            assert marked["status"] == "CANCELLING"
            if verdict is Verdict.EXECUTE:
                # The claim came first: the run is the worker's to end.
                winners["claim"] += 1
                assert parts.snapshot(run_id)["status"] == "CANCELLING"
                parts.end(run_id, RunStatus.CANCELLED)
            else:
                winners["cancel"] += 1
                assert verdict in (Verdict.CANCELLED, Verdict.DROP)
                assert cancelled(local, run_id)["attempt"] == 0
            parts.queue.deliveries.ack(delivery)
    assert min(winners.values()) > 0, winners
