"""Jobs that the queue has handed out as often as it may: their runs end, and the queue is clean."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyoco_server.bridge.messages import Delivery, Write
from pyoco_server.contract import names
from pyoco_server.operations import janitor as janitors
from pyoco_server.operations.holder import Holders
from pyoco_server.operations.janitor import Janitor
from pyoco_server.stores import queue
from pyoco_server.stores.advisories import AdvisoryStore
from pyoco_server.stores.workers import WorkerStore
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

DELIVERIES = 3
FEW = {"PYOCO_CONSUMER_MAX_DELIVER": str(DELIVERIES)}


@pytest.fixture
def few(nats: NatsServer) -> Any:
    """A program beside the gateway that makes consumers which hand a job out three times."""
    with Parts(nats.url, **FEW) as given:
        given.queue.ensure("default")
        yield given


def store(parts: Parts, run_id: str, **fields: Any) -> int:
    """Store a run and queue its job as 0.5.1 does; gives the job's sequence."""
    document = stored_run(run_id, **fields)
    parts.put(run_id, document)
    job = {name: document[name] for name in ("run_id", "flow_name", "tag", "tags", "params")}
    return publish(parts, json.dumps(job).encode())


def publish(parts: Parts, payload: bytes) -> int:
    return parts.bus.write(Write("pyoco.work.default", payload))[0]


def deliver(parts: Parts) -> Delivery:
    return eventually(lambda: parts.queue.pull("default", wait_sec=0.2), what="a delivery")


def exhaust(parts: Parts, *, is_told: bool = True) -> None:
    """Have the next job handed out as often as it may be, and handed back each time.

    :param is_told: whether the queue's word of it is kept.
    """
    before = last_advisory(parts)
    for number in range(1, DELIVERIES + 1):
        delivery = deliver(parts)
        assert delivery.num_delivered == number
        parts.queue.deliveries.nak(delivery)
    # Only now the queue finds that it has handed the job out too often.
    assert parts.queue.pull("default", wait_sec=0.2) is None
    if is_told:
        eventually(lambda: last_advisory(parts) > before, what="the queue's word of it")


def last_advisory(parts: Parts) -> int:
    """Give the number of the last word that was kept of jobs which were handed out too often."""
    return int(parts.info(names.ADVISORIES_STREAM)["state"]["last_seq"])


def letters(parts: Parts) -> list[dict[str, Any]]:
    return [json.loads(stored.payload) for stored in parts.messages("PYOCO_DLQ")]


def janitor(parts: Parts, *, disconnect_timeout_sec: float = 0.5) -> Janitor:
    holders = Holders(
        parts.runs,
        WorkerStore(parts.bus, parts.config),
        disconnect_timeout_sec=disconnect_timeout_sec,
        cancel_grace_sec=30,
    )
    return Janitor(parts.queue, parts.runs, holders, AdvisoryStore(parts.bus), parts.dead_letters)


@pytest.mark.long
@pytest.mark.parametrize("worker_id", [None, "gone"])
def test_run_whose_job_was_delivered_too_often_fails_with_one_dead_letter_and_the_queue_is_clean(
    few: Parts, serve: Callable[..., LocalGateway], worker_id: str | None
) -> None:
    # Nobody has begun it, or a worker of 0.5.1 has, and fallen silent.
    store(few, "r1", status="PENDING" if worker_id is None else "RUNNING", worker_id=worker_id)
    exhaust(few)
    # What the queue has said before there was a gateway counts; two gateways make no two letters of it.
    for _ in range(2):
        serve(PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC="1")
    eventually(lambda: few.snapshot("r1")["status"] == "FAILED", what="the end of the run")
    run = few.snapshot("r1")
    assert run["error"] == f"max_deliveries: the job was delivered {DELIVERIES} times without an end."
    eventually(lambda: not few.jobs(), what="the queue being empty")
    eventually(lambda: not few.messages(names.ADVISORIES_STREAM), what="no word being left")
    (letter,) = letters(few)
    assert (letter["run_id"], letter["reason"], letter["error"]) == ("r1", "max_deliveries", run["error"])
    assert letter["worker_id"] == worker_id


def test_job_that_is_not_claimed_at_once_is_not_taken_for_lost_where_others_are_acknowledged(
    few: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(few, "slow")
    deliver(few)
    for number in range(3):
        store(few, f"fast-{number}")
    fast = [deliver(few) for _ in range(3)]
    asked = queue.list_consumers

    def ask_late(*args: Any) -> Any:
        # After the jobs were counted.
        few.queue.deliveries.ack(fast.pop())
        return asked(*args)

    monkeypatch.setattr(queue, "list_consumers", ask_late)
    cleaner = janitor(few)
    for _ in range(3):
        assert cleaner.clean() == 0
    assert few.snapshot("slow")["status"] == "PENDING"


def test_run_is_ended_although_no_word_of_it_was_kept(few: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(janitors, "_ABANDONED_SEC", 0.0)
    few.configure(names.ADVISORIES_STREAM, subjects=["somewhere.else"])
    store(few, "lost")
    exhaust(few, is_told=False)
    store(few, "waits")
    store(few, "in-hand")
    held = [deliver(few), deliver(few)]
    few.queue.deliveries.nak(held[0], 600)
    cleaner = janitor(few)
    # Three look alike: one is lost, one is in hand and not claimed yet, one waits for its time.
    for _ in range(3):
        assert cleaner.clean() == 0
    few.put("in-hand", stored_run("in-hand", status="RUNNING", worker_id="alive"))
    few.queue.deliveries.ack(held[0])
    patient = janitor(few, disconnect_timeout_sec=600)
    assert [patient.clean(), patient.clean()] == [0, 1]
    assert few.snapshot("lost")["status"] == "FAILED"
    assert [letter["run_id"] for letter in letters(few)] == ["lost"]
    assert few.queued_ids() == ["in-hand"]
    assert [patient.clean(), patient.clean()] == [0, 0]


def test_run_that_its_worker_still_executes_is_left_to_it(few: Parts) -> None:
    store(few, "r1", status="RUNNING", worker_id="alive")
    exhaust(few)
    patient = janitor(few, disconnect_timeout_sec=600)
    for _ in range(3):
        assert patient.clean() == 0
    assert few.snapshot("r1")["status"] == "RUNNING"
    # The word is not forgotten meanwhile.
    eventually(lambda: janitor(few).clean(), what="the end of its silence")
    assert few.snapshot("r1")["status"] == "FAILED"


def test_job_of_a_run_that_is_over_or_goes_on_with_another_job_just_leaves_the_queue(few: Parts) -> None:
    for run_id, fields in (
        ("done", {"status": "COMPLETED"}),
        ("elsewhere", {"status": "RUNNING", "worker_id": "w", "job_seq": 4711}),
        ("retried", {"status": "PENDING", "retry_at": time.time() + 60}),
    ):
        store(few, run_id, **fields)
        exhaust(few)
        before = few.snapshot(run_id)
        assert janitor(few).clean() == 1
        assert few.snapshot(run_id) == before
    publish(few, json.dumps({"run_id": "never was", "flow_name": "f", "tag": "default", "params": {}}).encode())
    exhaust(few)
    assert janitor(few).clean() == 1
    assert not few.jobs() and not letters(few)


def test_cancelled_run_whose_job_was_delivered_too_often_is_cancelled(few: Parts) -> None:
    store(few, "r1", status="CANCELLING", cancel_requested_at=time.time())
    exhaust(few)
    assert janitor(few).clean() == 1
    assert (few.snapshot("r1")["status"], few.snapshot("r1")["error"]) == ("CANCELLED", None)
    assert not few.jobs() and not letters(few)


def test_job_that_cannot_be_read_leaves_a_dead_letter(few: Parts) -> None:
    publish(few, b"no job at all")
    exhaust(few)
    assert janitor(few).clean() == 1
    (letter,) = letters(few)
    assert (letter["reason"], letter["payload"], letter["num_delivered"]) == ("invalid_job", "no job at all", 3)
    assert not few.jobs()


def test_job_that_cannot_be_read_fails_its_run(few: Parts) -> None:
    few.put("r1", stored_run("r1", tenant_id="acme"))
    publish(few, json.dumps({"run_id": "r1"}).encode())
    exhaust(few)
    assert janitor(few).clean() == 1
    assert few.snapshot("r1")["error"].startswith("invalid_job: ")
    (letter,) = letters(few)
    assert (letter["reason"], letter["run_id"], letter["tenant_id"]) == ("invalid_job", "r1", "acme")


@pytest.mark.parametrize(("is_spent", "status"), [(True, "PENDING"), (False, "FAILED")])
def test_of_a_run_that_is_tried_again_only_its_present_job_ends_it(few: Parts, is_spent: bool, status: str) -> None:
    seq = store(few, "r1")
    # The number that stands there is that of the job by which the earlier attempt failed.
    retried = {"attempt": 1, "max_attempts": 3, "job_seq": seq if is_spent else seq + 100}
    few.put("r1", stored_run("r1", **retried))
    exhaust(few)
    eventually(lambda: janitor(few).clean(), what="the job leaving the queue")
    assert few.jobs() == []
    assert few.snapshot("r1")["status"] == status
    assert len(letters(few)) == (not is_spent)


def test_the_dead_letter_of_a_run_that_failed_at_its_last_delivery_is_not_lost_with_its_worker(few: Parts) -> None:
    """The worker ended between the end of the run and its letter, and the queue hands the job to nobody else."""
    seq = store(few, "r1")
    few.put("r1", stored_run("r1", status="FAILED", error="ValueError: no", attempt=1, job_seq=seq))
    exhaust(few)
    assert janitor(few).clean() == 1
    (letter,) = letters(few)
    assert (letter["run_id"], letter["reason"], letter["error"]) == ("r1", "execution_error", "ValueError: no")
