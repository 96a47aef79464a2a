"""Ending runs where NATS does not play along."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from pyoco_server.bridge.messages import Delivery
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.policy import RunPolicy
from pyoco_server.errors import BusUnavailable
from pyoco_server.operations.authenticate import ANYBODY
from pyoco_server.operations.claim import Claims, Verdict
from pyoco_server.operations.finish import Finish, Outcome
from pyoco_server.operations.holder import Holders
from pyoco_server.operations.submit import RunRequest
from pyoco_server.states import RunStatus
from pyoco_server.stores.workers import WorkerStore
from tests.support.nats import NatsServer
from tests.support.parts import Parts


def test_a_delivery_that_a_killed_server_has_forgotten_holds_nobody_up(parts: Parts) -> None:
    """After a kill -9 the server may know an older state of the consumer, and answers no acknowledgement of a delivery
    that is none to it. Waiting for the answer stopped every slot of a fleet."""
    run_id = parts.submission().submit(RunRequest(ANYBODY, "main", "t", ["t"])).run_id
    parts.queue.ensure("t")
    delivery = parts.queue.pull("t", wait_sec=5)
    assert delivery is not None
    stored = parts.runs.get(run_id)
    claimed = parts.runs.change(
        stored, lambda snapshot: replace(snapshot, status=RunStatus.RUNNING, worker_id="w", instance_id="i")
    )
    assert claimed is not None
    words = delivery.reply.split(".")
    # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
    words[5], words[6] = "1000", "1000"
    forgotten = replace(delivery, reply=".".join(words))
    finish = finish_of(parts)
    began_at = time.monotonic()
    ended = finish.finish(claimed, forgotten, Outcome(RunStatus.COMPLETED))
    assert time.monotonic() - began_at < 5
    assert ended is not None and ended.snapshot.status is RunStatus.COMPLETED
    # It comes again, and whoever gets it drops it.
    finish.drop(parts.runs.get(run_id), delivery)
    assert parts.jobs() == []


def test_a_failure_that_is_tried_again_is_noted_once_however_often_its_worker_repeats_itself(parts: Parts) -> None:
    delivery, claims, finish = delivered(parts), claims_of(parts), finish_of(parts)
    claim = claims.claim(Job.from_bytes(delivery.payload), delivery, time.time())
    assert claim.stored is not None
    outcome = Outcome(RunStatus.FAILED, "execution_error", "it broke")
    written = [finish.finish(claim.stored, delivery, outcome) for _ in range(2)]
    assert [stored and len(stored.snapshot.errors) for stored in written] == [1, 1]
    assert parts.jobs() == [] and parts.messages("PYOCO_DLQ") == []


def test_a_job_whose_attempt_has_failed_is_dropped_also_when_the_next_attempt_is_due(parts: Parts) -> None:
    """Its old worker may acknowledge it at any moment, so nobody may execute the next attempt by it."""
    delivery, claims = delivered(parts), claims_of(parts)
    job = Job.from_bytes(delivery.payload)
    claim = claims.claim(job, delivery, time.time())
    assert claim.stored is not None
    failed = claim.stored.snapshot.failed_for_now(error="it broke", now=time.time())
    revision = parts.runs.update(failed, claim.stored.revision)
    assert claims.claim(job, delivery, time.time()).verdict is Verdict.DROP
    parts.runs.update(failed.due(time.time()), revision)
    assert claims.claim(job, delivery, time.time()).verdict is Verdict.DROP
    assert claims.claim(job, replace(delivery, seq=delivery.seq + 1), time.time()).verdict is Verdict.EXECUTE


@pytest.mark.parametrize(("reason", "error"), [("execution_error", "it broke"), ("timeout", "timeout: too long.")])
def test_a_dead_letter_that_cannot_be_stored_is_not_lost_with_its_worker(parts: Parts, reason: str, error: str) -> None:
    delivery, claims, finish = delivered(parts, max_attempts=1), claims_of(parts), finish_of(parts)
    job = Job.from_bytes(delivery.payload)
    claim = claims.claim(job, delivery, time.time())
    assert claim.stored is not None
    parts.bus.api("STREAM.DELETE.PYOCO_DLQ")
    with pytest.raises(BusUnavailable):
        finish.finish(claim.stored, delivery, Outcome(RunStatus.FAILED, reason, error))
    assert parts.snapshot(job.run_id)["status"] == "FAILED"
    # The worker ends here, its job comes to another one, and the stream is there again.
    ensure_resources(parts.bus, parts.config)
    again = claims.claim(job, delivery, time.time())
    assert again.verdict is Verdict.DROP
    finish.drop(again.stored, delivery)
    (letter,) = [json.loads(stored.payload) for stored in parts.messages("PYOCO_DLQ")]
    assert (letter["run_id"], letter["reason"], letter["error"]) == (job.run_id, reason, error)
    assert parts.jobs() == []


@pytest.mark.parametrize(("kept_sec", "window_sec"), [(604_800, 3_600), (600, 600)])
def test_a_dead_letter_is_recognised_for_an_hour_or_as_long_as_letters_are_kept(
    parts: Parts, nats: NatsServer, kept_sec: int, window_sec: int
) -> None:
    """So long nobody may look at the job of a worker that ended between letter and acknowledgement."""
    parts.bus.api("STREAM.DELETE.PYOCO_DLQ")
    with Parts(nats.url, PYOCO_DLQ_MAX_AGE_SEC=str(kept_sec)) as other:
        assert other.info("PYOCO_DLQ")["config"]["duplicate_window"] == window_sec * 10**9
        for _ in range(2):
            other.dead_letters.publish(DeadLetter("timeout", "late", 1.0, "r1", "f", "t"), key="failed.r1")
        assert other.dead_letters.count() == 1


def delivered(parts: Parts, *, max_attempts: int = 2) -> Delivery:
    """Submit a run, which is tried twice, and take its job."""
    parts.submission().submit(RunRequest(ANYBODY, "main", "t", ["t"], policy=RunPolicy(max_attempts=max_attempts)))
    parts.queue.ensure("t")
    delivery = parts.queue.pull("t", wait_sec=5)
    assert delivery is not None
    return delivery


def finish_of(parts: Parts) -> Finish:
    return Finish(parts.queue.deliveries, parts.runs, parts.dead_letters, worker_id="w")


def claims_of(parts: Parts) -> Claims:
    holders = Holders(parts.runs, WorkerStore(parts.bus, parts.config), disconnect_timeout_sec=20, cancel_grace_sec=30)
    return Claims(parts.runs, holders, worker_id="w", instance_id="life", is_active=lambda run_id: True)
