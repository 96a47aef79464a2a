"""One run that cannot be served keeps no other from being served: above all one that is over a lowered cap."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot
from pyoco_server.operations.cancel import Cancellation
from pyoco_server.operations.cancel_requests import CancelRequests
from pyoco_server.operations.holder import Holders
from pyoco_server.operations.job_search import JobSearch
from pyoco_server.operations.retention import Retention
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.stores.workers import WorkerStore
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import PATIENCE_SEC, eventually

#: Larger than the lowest cap, and nothing that is left out of a run to end it.
LARGE_TAGS = ["t" * 5_000]
LOWERED = {"PYOCO_MAX_RUN_SNAPSHOT_BYTES": "4096"}
#: What no program of the fleet writes, for each field that is one of its own.
ODD_NAMES = [item.name for item in fields(Snapshot) if item.name not in ("run_id", "status", "extra")]
ODD_VALUES = ["text", "", 7, 10**400, float("nan"), ["a"], {"a": None}, {"a": ["a"]}]


def is_cancelled(parts: Parts, run_id: str) -> bool:
    return bool(parts.snapshot(run_id)["status"] == "CANCELLED")


def complaints(caplog: pytest.LogCaptureFixture, run_id: str) -> list[str]:
    """Give the log's lines that name this run and the setting."""
    lines = [record.getMessage() for record in caplog.records]
    return [line for line in lines if run_id in line and "PYOCO_MAX_RUN_SNAPSHOT_BYTES" in line]


def odd_runs(kind: str, **known: Any) -> list[dict[str, Any]]:
    """Make a run of this kind for each value of each field."""
    pairs = enumerate(itertools.product(ODD_NAMES, ODD_VALUES))
    return [stored_run(f"{kind}-{number}-{name}", **{**known, name: value}) for number, (name, value) in pairs]


@pytest.mark.long
def test_odd_runs_keep_no_other_from_being_cancelled_or_tried_again(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    now = time.time()
    due = {"origin": "a gateway", "attempt": 1, "max_attempts": 3, "submitted_at": now, "retry_at": now}
    tasks = {"tasks": {"a": "SUCCEEDED"}, "task_records": {"a": {"state": "SUCCEEDED"}}}
    held = {"status": "CANCELLING", "worker_id": "w", "instance_id": "life"}
    parts.put("w", {"worker_id": "w", "instance_id": "next", "state": "IDLE", "tags": ["x"]}, bucket="pyoco_workers")
    parts.put_many(odd_runs("cancelled", status="CANCELLING", **tasks) + odd_runs("held", **held, **tasks))
    parts.put_many([*odd_runs("due", **due, **tasks), stored_run("other", status="CANCELLING")])
    parts.put("due", stored_run("due", **due))
    gateway = serve()
    eventually(lambda: is_cancelled(parts, "other"), what="the other's end")
    eventually(lambda: "due" in parts.queued_ids(), what="the other's retry")
    # A thread that died says so a moment later.
    parts.put("last", stored_run("last", status="CANCELLING"))
    eventually(lambda: is_cancelled(parts, "last"), what="the next one's end")
    assert not gateway.failures


def test_odd_runs_keep_no_other_from_its_job(parts: Parts) -> None:
    lost = {"origin": "dead gateway", "submitted_at": time.time() - 60, "updated_at": time.time() - 60}
    parts.put_many(odd_runs("lost", **lost, workflow_yaml_sha256="0" * 64) + odd_runs("named", **lost))
    parts.put("z", stored_run("z", **lost))
    sweep = parts.sweep()
    eventually(lambda: sweep.sweep(time.time()) and "z" in parts.queued_ids(), what="the other's job")


def test_odd_runs_keep_no_other_from_being_ended_when_it_is_old(parts: Parts) -> None:
    parts.put_many(odd_runs("running", status="RUNNING", updated_at=time.time() - 3600))
    stale(parts, parts.model, stored_run("z-other"))
    assert Retention(parts.runs, parts.model, parts.queue, retention_sec=0.1).end_old() > 1
    assert parts.snapshot("z-other")["status"] == "FAILED"


def test_job_of_a_run_that_was_submitted_after_the_last_date_is_looked_for_all_the_same(parts: Parts) -> None:
    parts.queue.publish(Job("r", "main", "default"))
    revision = parts.put("r", stored_run("r", status="CANCELLING", submitted_at=1e14))
    assert parts.model.wait_for(revision, PATIENCE_SEC)
    workers = WorkerStore(parts.bus, parts.config)
    holders = Holders(parts.runs, workers, disconnect_timeout_sec=20, cancel_grace_sec=30)
    cancellation = Cancellation(parts.runs, holders, parts.model, JobSearch(parts.queue))
    assert cancellation.complete() == 1
    assert is_cancelled(parts, "r")
    eventually(lambda: not parts.jobs() or cancellation.complete(), what="its job leaving the queue")


def stale(parts: Parts, model: ReadModel, *runs: dict[str, Any]) -> None:
    """Store runs that nobody has written for an hour, by their own clocks."""
    for run in runs:
        assert model.wait_for(parts.put(run["run_id"], {**run, "updated_at": time.time() - 3600}), PATIENCE_SEC)
    moment = parts.runs.get(runs[-1]["run_id"]).stored_at
    eventually(lambda: parts.runs.server_time() > moment + 0.1, what="their time being over")


def test_cancelled_run_that_cannot_be_written_keeps_no_other_from_its_end_and_is_named_once(
    serve: Callable[..., LocalGateway], parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    parts.put("a-large", stored_run("a-large", status="CANCELLING", tags=LARGE_TAGS))
    parts.put("other", stored_run("other", status="CANCELLING"))
    gateway = serve(**LOWERED)
    for run_id in ("other", "next", "last"):
        parts.put(run_id, stored_run(run_id, status="CANCELLING"))
        eventually(lambda run_id=run_id: is_cancelled(parts, run_id), what=f"the end of {run_id}")
    assert not gateway.failures
    assert parts.snapshot("a-large")["status"] == "CANCELLING"
    assert len(complaints(caplog, "a-large")) == 1


def test_request_that_cannot_be_marked_again_leaves_the_others_alone(
    nats: NatsServer, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    with Parts(nats.url, **LOWERED) as lowered:
        requests = CancelRequests(lowered.runs, lowered.model)
        for run_id, tags in (("large", LARGE_TAGS), ("other", [])):
            run = lowered.runs.get(_stored(parts, run_id)).snapshot
            requests.note(run.cancelling(requested_by=None, now=time.time()))
            # As a worker of 0.5.1 writes it that knows of no mark.
            revision = parts.put(run_id, stored_run(run_id, status="RUNNING", tags=tags))
            assert lowered.model.wait_for(revision, PATIENCE_SEC)
        requests.repeat()
        requests.repeat()
    assert parts.snapshot("large")["status"] == "RUNNING"
    assert parts.snapshot("other")["status"] == "CANCELLING"
    assert len(complaints(caplog, "large")) == 1


def _stored(parts: Parts, run_id: str) -> str:
    parts.put(run_id, stored_run(run_id))
    return run_id


def test_old_run_that_cannot_be_written_keeps_no_other_from_its_end(
    nats: NatsServer, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    stale(parts, parts.model, stored_run("a-large", tags=LARGE_TAGS), stored_run("other"))
    with Parts(nats.url, **LOWERED) as lowered:
        assert Retention(lowered.runs, parts.model, parts.queue, retention_sec=0.1).end_old() == 1
    assert parts.snapshot("other")["status"] == "FAILED"
    assert len(complaints(caplog, "a-large")) == 1


def test_jobless_run_that_cannot_be_failed_keeps_no_other_from_its_job_and_has_no_dead_letter(
    nats: NatsServer, parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = time.time()
    lost = {"origin": "dead gateway", "submitted_at": now, "tags": LARGE_TAGS, "workflow_yaml_sha256": "0" * 64}
    parts.put("a-large", stored_run("a-large", **lost))
    parts.put("other", stored_run("other", origin="dead gateway", submitted_at=now + 1))
    with Parts(nats.url, **LOWERED) as lowered:
        sweep = lowered.sweep()
        assert lowered.model.run("a-large") is not None
        assert [sweep.sweep(now + 5) for _ in range(2)] == [1, 0]
    assert parts.queued_ids() == ["other"]
    assert parts.snapshot("a-large")["status"] == "PENDING"
    assert not parts.messages("PYOCO_DLQ")
    assert len(complaints(caplog, "a-large")) == 1


def test_job_that_was_delivered_too_often_of_a_run_that_cannot_be_written_ends_no_gateway(
    nats: NatsServer, serve: Callable[..., LocalGateway], parts: Parts, caplog: pytest.LogCaptureFixture
) -> None:
    with Parts(nats.url, PYOCO_CONSUMER_MAX_DELIVER="1") as few:
        few.queue.ensure("default")
        parts.put("large", stored_run("large", tags=LARGE_TAGS))
        parts.queue.publish(Job("large", "main", "default"))
        delivery = eventually(lambda: few.queue.pull("default", wait_sec=0.2), what="a delivery")
        few.queue.deliveries.nak(delivery)
        # Only now the queue finds that it has handed the job out too often.
        assert few.queue.pull("default", wait_sec=0.2) is None
    gateway = serve(**LOWERED)
    eventually(lambda: complaints(caplog, "large"), what="the complaint")
    # What comes behind it in each turn.
    parts.put("ended", stored_run("ended", status="COMPLETED", end_time=time.time()))
    eventually(lambda: parts.bus.last("KV_pyoco_runs", "$KV.pyoco_runs.ended").headers, what="the expiry of the ended")
    assert not gateway.failures
