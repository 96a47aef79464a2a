"""The sweep: what a gateway that died between snapshot and job left undone is done once."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import BusUnavailable
from pyoco_server.states import RunStatus
from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.conftest import HELLO_FLOW
from tests.support.brake import brake_at
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

WORK = "PYOCO_WORK"
WINDOW_SEC = 0.5


def new_job(**fields: Any) -> Job:
    values = {"flow_name": "main", "tag": "gpu", "tags": ["a"], "params": {"x": 1}, "submitted_at": time.time()}
    return Job(run_id=str(uuid.uuid4()), **{**values, **fields})


def yaml_job() -> Job:
    workflow = parse_workflow(HELLO_FLOW)
    return new_job(
        workflow_yaml=workflow.text, workflow_yaml_sha256=workflow.sha256, workflow_yaml_bytes=workflow.size_bytes
    )


def leave(parts: Parts, *jobs: Job, **changes: Any) -> list[str]:
    """Store the snapshots that a gateway stores before it queues these jobs; give the run ids, sorted."""
    writes = []
    for job in jobs:
        snapshot = Snapshot.pending(job, origin="dead gateway", tasks=[], now=time.time())
        snapshot = Snapshot(**{**snapshot.__dict__, **changes})
        writes.append(parts.runs.creation(snapshot))
    revision = parts.bus.write(*writes)[-1]
    assert parts.model.wait_for(revision, 10)
    return sorted(job.run_id for job in jobs)


def sweep_once(parts: Parts) -> int:
    """Sweep as a gateway that has just started."""
    return parts.sweep().sweep(time.time() + 1)


def forget_messages(parts: Parts) -> None:
    """Have the work stream forget the ids of all jobs that it has had so far."""
    parts.configure(WORK, duplicate_window=int(WINDOW_SEC * 1e9))
    began_at = parts.runs.server_time()
    eventually(lambda: parts.runs.server_time() > began_at + WINDOW_SEC, what="the end of the server's memory")


def test_a_run_without_a_job_gets_one_and_no_second(parts: Parts) -> None:
    run_ids = leave(parts, new_job(), new_job())
    sweep = parts.sweep()
    assert sweep.sweep(time.time() + 1) == 2
    assert sweep.sweep(time.time() + 1) == 0
    # Another gateway does not know it, and the server does.
    sweep_once(parts)
    assert parts.queued_ids() == run_ids


@pytest.mark.parametrize("make", [new_job, yaml_job])
def test_the_job_is_the_one_that_the_dead_gateway_would_have_queued(parts: Parts, make: Any) -> None:
    job = make()
    if job.workflow_yaml:
        parts.workflows.keep(job.workflow_yaml_sha256, job.workflow_yaml)
    leave(parts, job)
    sweep_once(parts)
    (queued,) = parts.jobs()
    assert queued.subject == "pyoco.work.gpu"
    assert queued.payload == job.to_bytes()
    assert queued.headers["Nats-Msg-Id"] == job.run_id


def test_a_run_that_is_still_young_is_left_alone(parts: Parts) -> None:
    leave(parts, new_job())
    sweep = parts.sweep(min_age_sec=15.0)
    assert sweep.sweep(time.time()) == 0
    # Nor does a gateway whose clock is an hour ahead touch it: the server's clock counts.
    assert sweep.sweep(time.time() + 3600) == 0
    assert parts.jobs() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": None},
        {"retry_at": 1.0},
        {"status": RunStatus.RUNNING},
        {"status": RunStatus.CANCELLING},
        {"status": RunStatus.FAILED},
    ],
    ids=str,
)
def test_a_run_that_does_not_wait_for_its_first_job_is_left_alone(parts: Parts, changes: dict[str, Any]) -> None:
    leave(parts, new_job(), **changes)
    assert sweep_once(parts) == 0
    assert parts.jobs() == []


@pytest.mark.parametrize("count", [3, 150], ids=["few", "many"])
def test_beyond_the_servers_memory_the_queue_itself_tells_who_has_a_job(parts: Parts, count: int) -> None:
    queued, orphans = [new_job() for _ in range(count)], [new_job() for _ in range(count)]
    run_ids = leave(parts, *queued, *orphans)
    parts.bus.write(*(parts.queue.publication(job) for job in queued))
    forget_messages(parts)
    assert sweep_once(parts) == count
    assert parts.queued_ids() == run_ids


def test_a_run_that_was_executed_meanwhile_gets_no_job_though_the_list_is_late(parts: Parts) -> None:
    job, orphan = new_job(), new_job()
    leave(parts, job, orphan)
    forget_messages(parts)
    sweep, model = parts.sweep(), parts.model
    with brake_at(model, orphan.run_id) as brake:
        parts.change(orphan.run_id)
        brake.wait()
        parts.end(job.run_id)
        assert len(model.pending_runs(until=time.time() + 1)) == 2
        sweep.sweep(time.time() + 1)
    assert parts.queued_ids() == [orphan.run_id]


@pytest.mark.parametrize("is_late", [False, True], ids=["in memory", "beyond memory"])
def test_several_sweeps_at_once_double_nothing(nats: NatsServer, parts: Parts, is_late: bool) -> None:
    run_ids = leave(parts, *(new_job() for _ in range(120 if is_late else 60)))
    if is_late:
        forget_messages(parts)
        parts.configure(WORK, duplicate_window=int(5e9))
    with ExitStack() as stack:
        gateways = [stack.enter_context(Parts(nats.url)) for _ in range(4)]
        sweeps = [gateway.sweep() for gateway in gateways]
        with ThreadPoolExecutor(len(sweeps)) as threads:
            for future in [threads.submit(sweep.sweep, time.time() + 1) for sweep in sweeps]:
                future.result()
    assert parts.queued_ids() == run_ids


def test_a_run_whose_text_is_gone_is_failed_once_with_one_dead_letter(nats: NatsServer, parts: Parts) -> None:
    job = yaml_job()
    (orphan,) = leave(parts, new_job())
    leave(parts, job)
    with Parts(nats.url) as other:
        sweeps = [parts.sweep(), other.sweep()]
        with ThreadPoolExecutor(2) as threads:
            for future in [threads.submit(sweep.sweep, time.time() + 1) for sweep in sweeps]:
                future.result()
    stored = parts.snapshot(job.run_id)
    assert stored["status"] == "FAILED"
    assert stored["error"].startswith("flow_not_found: ")
    assert stored["end_time"] == stored["updated_at"]
    (letter,) = parts.messages("PYOCO_DLQ")
    document = json.loads(letter.payload)
    assert letter.subject == "pyoco.dlq.gpu"
    assert (document["reason"], document["run_id"], document["error"]) == (
        "flow_not_found",
        job.run_id,
        stored["error"],
    )
    assert parts.queued_ids() == [orphan]


def test_a_dead_letter_that_cannot_be_stored_is_not_lost_with_its_gateway(parts: Parts) -> None:
    leave(parts, yaml_job())
    parts.bus.api("STREAM.DELETE.PYOCO_DLQ")
    with pytest.raises(BusUnavailable):
        sweep_once(parts)
    # Another gateway, and the stream is there again.
    ensure_resources(parts.bus, parts.config)
    sweep_once(parts)
    sweep_once(parts)
    (letter,) = parts.messages("PYOCO_DLQ")
    run = parts.snapshot(json.loads(letter.payload)["run_id"])
    assert (run["status"], run["error"]) == ("FAILED", json.loads(letter.payload)["error"])


@pytest.mark.parametrize(
    ("status", "error"), [(RunStatus.CANCELLED, None), (RunStatus.FAILED, "ValueError: a worker had it after all")]
)
def test_a_run_that_ends_otherwise_while_it_is_failed_has_no_dead_letter_of_that(
    parts: Parts, status: RunStatus, error: str | None
) -> None:
    (run_id,) = leave(parts, yaml_job())
    stored = parts.runs.get(run_id)
    parts.change(run_id, status=status, error=error)
    parts.sweep().fail(stored, "flow_not_found", "flow_not_found: its workflow is not kept any more.")
    assert (parts.snapshot(run_id)["status"], parts.messages("PYOCO_DLQ")) == (status, [])


def test_a_run_whose_text_is_gone_is_left_to_its_job_where_it_has_one(parts: Parts) -> None:
    job = yaml_job()
    leave(parts, job)
    parts.queue.publish(job)
    sweep_once(parts)
    assert parts.snapshot(job.run_id)["status"] == "PENDING"
    assert parts.messages("PYOCO_DLQ") == []


def test_a_run_that_has_become_too_large_to_be_written_is_failed_all_the_same(nats: NatsServer, parts: Parts) -> None:
    (run_id,) = leave(parts, yaml_job(), params={"x": "y" * 100_000})
    # Its operator has lowered the cap since.
    with Parts(nats.url, PYOCO_MAX_RUN_SNAPSHOT_BYTES="4096") as lowered:
        sweep_once(lowered)
    assert parts.snapshot(run_id)["status"] == "FAILED"
    assert len(parts.messages("PYOCO_DLQ")) == 1


@pytest.mark.parametrize("is_spent", [True, False])
def test_the_job_of_an_attempt_that_failed_does_not_stand_for_the_next_one(parts: Parts, is_spent: bool) -> None:
    job = new_job()
    parts.queue.publish(job)
    (spent,) = parts.jobs()
    leave(parts, job, attempt=1, max_attempts=3, job_seq=spent.seq if is_spent else spent.seq + 1)
    forget_messages(parts)
    sweep = parts.sweep()
    assert sweep.sweep(time.time() + 1) == is_spent
    assert sweep.sweep(time.time() + 1) == 0
    assert len(parts.jobs()) == 1 + is_spent


def test_a_run_that_was_removed_is_forgotten(parts: Parts) -> None:
    (run_id,) = leave(parts, new_job())
    parts.runs.remove(run_id, parts.runs.get(run_id).revision)
    assert sweep_once(parts) == 0
    assert parts.model.run(run_id) is None


def test_ending_a_run_that_somebody_removes_meanwhile_does_nothing(parts: Parts) -> None:
    (run_id,) = leave(parts, new_job())
    stored = parts.runs.get(run_id)
    parts.runs.remove(run_id, stored.revision)
    assert parts.runs.end(stored, lambda run: run.ended(RunStatus.FAILED, error="x", now=time.time())) is None
    assert parts.keys() == set()


def test_one_job_that_is_refused_does_not_hold_up_the_others(parts: Parts) -> None:
    leave(parts, new_job(tag="first"))
    (second,) = leave(parts, new_job(tag="second"))
    parts.configure(WORK, subjects=["pyoco.work.second"])
    parts.bus.api(
        "STREAM.CREATE.FULL", {"name": "FULL", "subjects": ["pyoco.work.first"], "max_bytes": 1, "discard": "new"}
    )
    assert sweep_once(parts) == 1
    assert parts.queued_ids() == [second]


def test_a_sweep_that_is_told_to_stop_stops(parts: Parts) -> None:
    leave(parts, new_job())
    assert parts.sweep().sweep(time.time() + 1, lambda: True) == 0
    assert parts.jobs() == []


def test_a_sweep_without_nats_says_so_and_the_next_one_goes_on(nats: NatsServer, parts: Parts) -> None:
    run_ids = leave(parts, new_job())
    sweep = parts.sweep()
    nats.stop()
    with pytest.raises(BusUnavailable):
        sweep.sweep(time.time() + 1)
    nats.start()
    assert parts.model.is_complete
    assert sweep.sweep(time.time() + 1) == 1
    assert parts.queued_ids() == run_ids


def test_a_job_that_nats_has_lost_is_queued_again_although_its_stream_is_the_same(
    nats: NatsServer, parts: Parts
) -> None:
    run_ids = leave(parts, new_job(), new_job())
    sweep = parts.sweep()
    assert [sweep.sweep(time.time() + 1) for _ in range(2)] == [2, 0]
    created = parts.info(WORK)["created"]
    # As by a power failure, or by a restored backup: it comes back without its last writes.
    parts.queue.remove(parts.jobs()[-1].seq)
    nats.stop()
    eventually(lambda: not parts.bus.is_connected, what="the connection being lost")
    nats.start()
    eventually(lambda: parts.bus.is_connected and parts.model.is_complete, what="the connection")
    assert parts.info(WORK)["created"] == created
    sweep.sweep(time.time() + 1)
    assert parts.queued_ids() == run_ids


@pytest.mark.long
def test_a_gateway_sweeps_by_itself(serve: Any, parts: Parts) -> None:
    before = leave(parts, new_job())
    gateway: LocalGateway = serve()
    after = leave(parts, new_job())
    eventually(lambda: parts.queued_ids() == sorted(before + after), what="both jobs", timeout_sec=60)
    assert gateway.submit() in parts.queued_ids()
