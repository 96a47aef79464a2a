"""Claims of runs whose jobs tell how they were stored."""

from __future__ import annotations

import json
import time
from typing import Any

import nats.aio.msg
import pytest

from pyoco_server.bridge.messages import Delivery, Write
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.policy import RunPolicy
from pyoco_server.contract.runs import Snapshot
from pyoco_server.operations.authenticate import ANYBODY
from pyoco_server.operations.claim import Claim, Claims, Verdict
from pyoco_server.operations.holder import Holders
from pyoco_server.operations.submit import RunRequest
from pyoco_server.stores.workers import WorkerStore
from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.support.parts import Parts
from tests.support.waiting import eventually

READS = "$JS.API.STREAM.MSG.GET.KV_pyoco_runs"
WORKFLOW = parse_workflow("""\
version: 1
flow: {graph: add_one >> to_text, defaults: {x: 1}}
tasks:
  add_one: {callable: "pyoco_server._workflow_test_tasks:add_one"}
  to_text: {callable: "pyoco_server._workflow_test_tasks:to_text"}
""")
POLICY = RunPolicy(max_attempts=3, retry_delay_sec=0.5, timeout_sec=7.0, resume=False)


@pytest.fixture(autouse=True)
def ready(parts: Parts) -> None:
    parts.queue.ensure("t")


def submitted(parts: Parts, **fields: Any) -> str:
    return parts.submission().submit(RunRequest(ANYBODY, "main", "t", ["t", "u"], {"x": 2}, **fields)).run_id


def delivered(parts: Parts) -> Delivery:
    return eventually(lambda: parts.queue.pull("t", wait_sec=0.2), what="a delivery", timeout_sec=30)


def claim(parts: Parts, delivery: Delivery, wheels: list[dict[str, str]] | None = None) -> Claim:
    """Claim a run as a worker does that was given its job for the first time."""
    holders = Holders(parts.runs, WorkerStore(parts.bus, parts.config), disconnect_timeout_sec=60, cancel_grace_sec=60)
    claims = Claims(parts.runs, holders, worker_id="w", instance_id="i", is_active=lambda run_id: False)
    return claims.claim(Job.from_bytes(delivery.payload), delivery, 5.0, wheels, is_first_look=True)


def queue_told(parts: Parts, run_id: str, snapshot: dict[str, Any], revision: int) -> None:
    """Queue the job of a run with the headers that any program could send."""
    job = {"run_id": run_id, "flow_name": "main", "tag": "t", "tags": ["t"], "params": {}}
    told = {"Pyoco-Snapshot": json.dumps(snapshot), "Pyoco-Revision": str(revision)}
    parts.bus.write(Write("pyoco.work.t", json.dumps(job).encode(), told=told))


@pytest.mark.parametrize("fields", [{}, {"workflow": WORKFLOW, "policy": POLICY, "rerun_of": "r0"}])
def test_run_that_was_just_submitted_is_claimed_as_it_was_stored_without_being_read(
    parts: Parts, fields: dict[str, Any]
) -> None:
    run_id = submitted(parts, **fields)
    before = parts.runs.get(run_id)
    delivery = delivered(parts)
    reads: list[nats.aio.msg.Msg] = []
    parts.bus.call(parts.bus.subscribe(READS, reads.append), timeout_sec=30)
    found = claim(parts, delivery)
    assert found.verdict is Verdict.EXECUTE and found.stored is not None
    parts.bus.server_time("KV_pyoco_runs")
    assert not reads
    stored = parts.runs.get(run_id)
    assert (found.stored.snapshot, found.stored.revision) == (stored.snapshot, stored.revision)
    assert stored.snapshot == before.snapshot.claimed(worker_id="w", instance_id="i", job_seq=delivery.seq, now=5.0)
    assert abs(found.stored.stored_at - before.stored_at) < 60


def test_results_of_an_earlier_run_are_taken_where_neither_that_one_nor_the_worker_had_wheels(parts: Parts) -> None:
    record = {"state": "SUCCEEDED", "output": 3, "is_resumable": True}
    submitted(parts, workflow=WORKFLOW, finished={"add_one": record}, wheels=[])
    delivery = delivered(parts)
    assert "Pyoco-Snapshot" in delivery.told
    found = claim(parts, delivery, wheels=[])
    assert found.stored is not None
    assert found.stored.snapshot.tasks["add_one"] == "SUCCEEDED" and found.stored.snapshot.resume_note is None


def test_what_the_job_itself_says_is_never_overruled(parts: Parts) -> None:
    now = time.time()
    told = {"status": "PENDING", "updated_at": now, "heartbeat_at": now}
    stored = {"flow_name": "main", "tag": "t", **told}
    revision = parts.put("r1", {"run_id": "r1", **stored})
    queue_told(parts, "r1", {**told, "tenant_id": "another"}, revision)
    assert claim(parts, delivered(parts)).verdict is Verdict.EXECUTE
    assert parts.snapshot("r1")["status"] == "RUNNING" and parts.snapshot("r1")["tenant_id"] is None


def test_what_somebody_has_written_since_the_submission_decides(parts: Parts) -> None:
    cancelled, changed = submitted(parts), submitted(parts)
    parts.put(cancelled, {**parts.snapshot(cancelled), "status": "CANCELLING", "cancel_requested_at": 1.0})
    parts.put(changed, {**parts.snapshot(changed), "of_another": "kept"})
    assert claim(parts, delivered(parts)).verdict is Verdict.CANCELLED
    assert parts.snapshot(cancelled)["status"] == "CANCELLED"
    assert claim(parts, delivered(parts)).verdict is Verdict.EXECUTE
    assert parts.snapshot(changed)["of_another"] == "kept"


def test_fields_that_this_version_does_not_know_are_told_with_the_job_and_kept(parts: Parts) -> None:
    now = time.time()
    told = {"status": "PENDING", "updated_at": now, "heartbeat_at": now, "of_a_newer_one": [1]}
    queue_told(parts, "r1", told, parts.put("r1", {"run_id": "r1", "flow_name": "main", "tag": "t", **told}))
    assert claim(parts, delivered(parts)).verdict is Verdict.EXECUTE
    assert parts.snapshot("r1")["of_a_newer_one"] == [1]


def test_run_that_was_withdrawn_is_waited_for_as_if_nothing_had_been_told_of_it(parts: Parts) -> None:
    run_id = submitted(parts)
    parts.runs.remove(run_id, parts.runs.get(run_id).revision)
    assert claim(parts, delivered(parts)).verdict is Verdict.WAIT


@pytest.mark.parametrize(
    "told",
    [{"status": "COMPLETED"}, {"status": "PENDING", "retry_at": 1.0}, {"status": 7}, {}, [], "PENDING"],
    ids=lambda told: json.dumps(told),
)
def test_what_no_claim_can_prove_is_not_believed(parts: Parts, told: Any) -> None:
    pending = Snapshot.pending(Job("r1", "main", "t"), origin="o", tasks=[], now=1.0)
    revision = parts.put("r1", pending.to_document())
    queue_told(parts, "r1", told, revision)
    assert claim(parts, delivered(parts)).verdict is Verdict.EXECUTE
    assert parts.snapshot("r1")["origin"] == "o"


def test_run_with_much_beside_its_job_is_read(parts: Parts) -> None:
    record = {"state": "SUCCEEDED", "output": "x" * 5000, "is_resumable": True}
    run_id = submitted(parts, workflow=WORKFLOW, finished={"add_one": record}, wheels=None)
    delivery = delivered(parts)
    assert "Pyoco-Snapshot" not in delivery.told and "Pyoco-Revision" not in delivery.told
    assert claim(parts, delivery).verdict is Verdict.EXECUTE
    assert parts.snapshot(run_id)["task_records"] == {"add_one": record}
