"""Queueing failed runs again: once each, by however many gateways, whatever ends in between and whatever clocks say."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pyoco_server.errors import BusUnavailable
from pyoco_server.operations.retry import Retries
from pyoco_server.operations.sweep import Sweep
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

HOUR = 3600.0


def wait(parts: Parts, *, delay_sec: float = 0.0, clock_off_sec: float = 0.0, **fields: Any) -> str:
    """Store a run that has failed once and waits for its retry, as its worker writes it; gives its id."""
    now = time.time() + clock_off_sec
    run = stored_run(
        str(uuid.uuid4()),
        origin="a gateway",
        submitted_at=now,
        attempt=1,
        max_attempts=3,
        updated_at=now,
        retry_at=now + delay_sec,
        errors=[{"attempt": 1, "error": "it broke", "ended_at": now, "worker_id": "w"}],
        **fields,
    )
    assert parts.model.wait_for(parts.put(run["run_id"], run), 10)
    return str(run["run_id"])


def retries(parts: Parts, sweep: Sweep | None = None) -> Retries:
    """Give what a gateway queues due runs with."""
    return Retries(parts.model, parts.runs, sweep or parts.sweep())


def message_ids(parts: Parts) -> list[str]:
    return [job.headers["Nats-Msg-Id"] for job in parts.jobs()]


def test_a_due_run_gets_the_job_of_its_next_attempt(parts: Parts) -> None:
    run_id = wait(parts)
    assert retries(parts).queue_due() == 1
    assert message_ids(parts) == [f"{run_id}.2"]
    run = parts.snapshot(run_id)
    assert (run["status"], run.get("retry_at"), run["attempt"], len(run["errors"])) == ("PENDING", None, 1, 1)


def test_a_due_run_that_has_become_too_large_to_be_written_is_failed(nats: NatsServer, parts: Parts) -> None:
    run_id = wait(parts, params={"x": "y" * 100_000})
    # Its operator has lowered the cap since.
    with Parts(nats.url, PYOCO_MAX_RUN_SNAPSHOT_BYTES="4096") as lowered:
        other = wait(parts)
        gateway = retries(lowered)
        eventually(lambda: gateway.queue_due() or parts.jobs(), what="the other's retry")
        assert gateway.queue_due() == 0
    run = parts.snapshot(run_id)
    assert run["status"] == "FAILED" and "PYOCO_MAX_RUN_SNAPSHOT_BYTES" in run["error"]
    assert len(parts.messages("PYOCO_DLQ")) == 1
    assert message_ids(parts) == [f"{other}.2"]


@pytest.mark.parametrize("off_sec", [-HOUR, 0.0, HOUR])
def test_clocks_that_disagree_make_it_neither_early_nor_late(parts: Parts, off_sec: float) -> None:
    late, gateway = wait(parts, delay_sec=60, clock_off_sec=off_sec), retries(parts)
    began_at = time.monotonic()
    soon = wait(parts, delay_sec=0.3, clock_off_sec=off_sec)
    eventually(gateway.queue_due, what="the retry")
    assert time.monotonic() - began_at >= 0.3
    assert message_ids(parts) == [f"{soon}.2"]
    assert parts.snapshot(late)["retry_at"] is not None


def test_several_gateways_queue_a_run_once(parts: Parts) -> None:
    run_ids = [wait(parts) for _ in range(10)]
    gateways = [retries(parts) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(lambda gateway: gateway.queue_due(), gateways))
    assert sum(counts) == 10
    assert sorted(message_ids(parts)) == sorted(f"{run_id}.2" for run_id in run_ids)


@pytest.mark.parametrize("knows_first_job", [True, False])
def test_a_gateway_that_ended_before_it_published_leaves_the_job_to_the_sweep(
    parts: Parts, knows_first_job: bool
) -> None:
    run_id, sweep = wait(parts), parts.sweep()
    if knows_first_job:
        # The first sweep forgets what was noted before it, because it does not know the queue yet.
        sweep.sweep(time.time() + 1)
        sweep.note_queued(run_id)
    parts.configure("PYOCO_WORK", subjects=["pyoco.elsewhere.>"])
    with pytest.raises(BusUnavailable):
        retries(parts).queue_due()
    assert parts.snapshot(run_id).get("retry_at") is None
    parts.configure("PYOCO_WORK", subjects=["pyoco.work.>"])
    assert parts.model.wait_for(parts.runs.get(run_id).revision, 10)
    assert sweep.sweep(time.time() + 1) == 1
    assert parts.sweep().sweep(time.time() + 1) == 1
    # The second sweep was recognised by the server.
    assert message_ids(parts) == [f"{run_id}.2"]


def test_the_sweep_leaves_a_waiting_run_alone(parts: Parts) -> None:
    run_id = wait(parts, delay_sec=HOUR)
    assert parts.sweep().sweep(time.time() + 1) == 0
    assert retries(parts).queue_due() == 0
    assert parts.jobs() == [] and parts.snapshot(run_id)["retry_at"] is not None


def test_the_sweep_gives_a_run_that_failed_meanwhile_no_job_though_the_list_is_late(parts: Parts) -> None:
    run_id = wait(parts, delay_sec=HOUR)
    listed = [(run_id, 0)]
    sweep = parts.sweep()
    sweep._model = type("Old", (), {"pending_runs": lambda self, until: listed})()
    assert sweep.sweep(time.time() + 1) == 0
    assert parts.jobs() == []


@pytest.mark.parametrize("change", [{"status": "CANCELLING", "retry_at": None}, {"retry_at": None}])
def test_a_run_that_was_changed_after_the_list_was_read_is_left_alone(parts: Parts, change: dict[str, Any]) -> None:
    run_id = wait(parts)
    gateway = retries(parts)
    listed = parts.model.waiting_retries()
    parts.put(run_id, {**parts.snapshot(run_id), **change})
    gateway._model = type("Old", (), {"waiting_retries": lambda self: listed})()
    assert gateway.queue_due() == 0
    assert parts.jobs() == []


def test_a_run_whose_workflow_is_not_kept_ends(parts: Parts) -> None:
    run_id = wait(parts, workflow_yaml_sha256="0" * 64)
    assert retries(parts).queue_due() == 0
    run = parts.snapshot(run_id)
    assert run["status"] == "FAILED" and run["error"].startswith("flow_not_found: ")


def test_a_gateway_queues_what_is_due_by_itself_and_again_after_nats_was_away(
    local: LocalGateway, parts: Parts, nats: Any
) -> None:
    nats.stop()
    with pytest.raises(BusUnavailable):
        parts.runs.server_time()
    nats.start()
    eventually(lambda: parts.bus.is_connected, what="the connection")
    run_id = wait(parts, delay_sec=0.2)
    eventually(lambda: message_ids(parts) == [f"{run_id}.2"], what="the job of the next attempt")
