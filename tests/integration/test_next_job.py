"""Which job a slot asks for next, and what becomes of those that it has no room for."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pyoco_server.bridge.deliveries import Deliveries
from pyoco_server.bridge.messages import Delivery, Waiting
from pyoco_server.bridge.streams import change_stream
from pyoco_server.contract import names
from pyoco_server.library.local_runner import LocalRunner
from pyoco_server.runner.allowed import Allowed
from pyoco_server.stores.queue import Queue
from pyoco_server.worker import consumer
from pyoco_server.worker.options import WorkerOptions
from pyoco_server.worker.supervisor import Worker
from tests.support.library import Desk, Notes, desk
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

Serve = Callable[..., Worker]
#: What waits, by tag, look by look.
Found = list[dict[str, Waiting]]


@pytest.fixture
def alone(nats: NatsServer) -> Iterator[Desk]:
    """A view of a NATS that only this test has."""
    with desk(nats.url) as made:
        yield made


@pytest.fixture
def serve(alone: Desk, notes: Notes) -> Iterator[Serve]:
    """Starts workers with one slot in this process."""
    started: list[Worker] = []

    def start(worker_id: str, *more_tags: str, **settings: Any) -> Worker:
        # It asks of its own accord so seldom that a test would notice.
        options = WorkerOptions(worker_id, [alone.tag, *more_tags], poll_timeout_sec=600.0, is_embedded=True)
        worker = Worker(
            replace(alone.config, **settings),
            options,
            on_failure=lambda service: None,
            on_drain=lambda: None,
            start_runner=functools.partial(LocalRunner, notes.resolve, Allowed(())),
        )
        worker.connect(10)
        started.append(worker)
        worker.start()
        return worker

    yield start
    for worker in started:
        worker.stop(0)


@pytest.fixture
def job_in_hand(alone: Desk) -> Delivery:
    """A job that keeps all others of its tag back."""
    queue = Queue(alone.parts.bus, replace(alone.parts.config, consumer_max_ack_pending=1))
    queue.ensure(alone.tag)
    alone.submit("f", 1)
    delivery = queue.pull(alone.tag, wait_sec=30)
    assert delivery is not None
    return delivery


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """What workers of this process find when they look at what waits, in order."""
    looks: Found = []
    waiting = Queue.waiting

    def look(queue: Queue, tags: Sequence[str]) -> dict[str, Waiting]:
        looks.append(waiting(queue, tags))
        return looks[-1]

    monkeypatch.setattr(Queue, "waiting", look)
    return looks


def heard(alone: Desk, subject: str) -> list[Any]:
    """Give a list to which all messages of this subject are added."""
    messages: list[Any] = []
    alone.parts.bus.call(alone.parts.bus.subscribe(subject, messages.append), timeout_sec=30)
    return messages


def all_completed(alone: Desk, run_ids: list[str]) -> bool:
    return all(alone.run(run_id)["status"] == "COMPLETED" for run_id in run_ids)


def test_where_jobs_are_held_back_the_acknowledgement_of_one_has_the_next_fetched(
    alone: Desk, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot is free before its last job is acknowledged, which is what makes room for another one."""
    monkeypatch.setattr(consumer, "_LOOK_SEC", 600.0)
    monkeypatch.setattr(consumer, "_ASK_SEC", 600.0)
    ack = Deliveries.ack

    def ack_late(deliveries: Deliveries, delivery: Delivery) -> None:
        """So that the next job has been asked for by then."""
        time.sleep(0.2)
        ack(deliveries, delivery)

    monkeypatch.setattr(Deliveries, "ack", ack_late)
    run_ids = [alone.submit("f", number) for number in range(8)]
    serve("w1", consumer_max_ack_pending=1)
    eventually(lambda: all_completed(alone, run_ids), what="the end of all runs")


def test_a_consumer_that_gives_nothing_though_jobs_wait_is_not_asked_again_and_again(
    alone: Desk, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused one, for instance: worker and server went round as fast as they could."""
    alone.parts.queue.ensure(alone.tag)
    name = f"{names.WORK_STREAM}.{names.durable(alone.tag)}"
    until = {"pause_until": "2100-01-01T00:00:00Z"}
    alone.parts.bus.api(f"CONSUMER.PAUSE.{name}", until)
    waits = [alone.submit("f", number) for number in range(3)]
    pulls = heard(alone, f"$JS.API.CONSUMER.MSG.NEXT.{name}")
    serve("w1")
    begun_at = time.monotonic()
    eventually(lambda: len(pulls) >= 10, what="some pulls", timeout_sec=30)
    # Ten in a second; they were hundreds.
    assert time.monotonic() - begun_at > 0.5
    alone.parts.bus.api(f"CONSUMER.PAUSE.{name}", {})
    eventually(lambda: all_completed(alone, waits), what="the end of all runs", timeout_sec=30)


def test_a_slot_that_cannot_write_the_end_of_its_run_keeps_no_other_job_to_itself(alone: Desk, serve: Serve) -> None:
    # A run that fails has ended once its dead letter is stored.
    change_stream(alone.parts.bus, alone.config.dlq_stream, {"max_msg_size": 10})
    failing, good = alone.submit("f", -1), alone.submit("f", 1)
    serve("stuck")
    eventually(lambda: alone.run(failing)["status"] == "FAILED", what="the failure of the first run")
    serve("other")
    eventually(lambda: all_completed(alone, [good]), what="the end of the second run")
    assert alone.run(good)["worker_id"] == "other"
    change_stream(alone.parts.bus, alone.config.dlq_stream, {"max_msg_size": -1})
    eventually(lambda: not alone.parts.queued_ids(), what="the acknowledgement of both")


@pytest.mark.parametrize("look_sec", [0.1, 600.0], ids=["looked at", "not looked at"])
def test_worker_that_could_not_get_the_job_that_it_was_told_of_tells_another_when_its_last_slot_fills(
    alone: Desk,
    serve: Serve,
    job_in_hand: Delivery,
    found: Found,
    monkeypatch: pytest.MonkeyPatch,
    look_sec: float,
) -> None:
    """Else whoever makes room for it knows nothing of it, and it waits for somebody's turn."""
    monkeypatch.setattr(consumer, "_LOOK_SEC", look_sec)
    monkeypatch.setattr(consumer, "_ASK_SEC", 600.0)
    # So long that the other job has come by then.
    monkeypatch.setattr(consumer, "_HINTED_JOB_SEC", 1.0)
    pulls = heard(alone, f"$JS.API.CONSUMER.MSG.NEXT.{names.WORK_STREAM}.{names.durable(alone.tag)}")
    passed_on = heard(alone, names.hint_subject(job_in_hand.subject))
    serve("busy", "other", consumer_max_ack_pending=1)
    eventually(lambda: found, what="the first look", timeout_sec=30)
    pulls.clear()
    kept_back = alone.submit("f", 2)
    eventually(lambda: pulls, what="the pull that gives nothing", timeout_sec=30)
    alone.submit("held", tag="other")
    eventually(lambda: passed_on, what="the hint that is passed on", timeout_sec=30)
    # First: nobody would tell a worker that finds it kept back when it comes.
    alone.parts.queue.deliveries.ack(job_in_hand)
    serve("room", consumer_max_ack_pending=1)
    eventually(lambda: all_completed(alone, [kept_back]), what="the end of the run that was kept back", timeout_sec=30)


def test_worker_that_could_not_get_a_job_that_somebody_else_has_taken_tells_nobody_of_it(
    alone: Desk, serve: Serve, job_in_hand: Delivery, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "_ASK_SEC", 600.0)
    passed_on = heard(alone, names.hint_subject(job_in_hand.subject))
    serve("busy", "other", consumer_max_ack_pending=1)
    eventually(lambda: found, what="the first look", timeout_sec=30)
    alone.submit("f", 2)
    eventually(lambda: found[-1][alone.tag].is_held_back, what="a look at what is kept back", timeout_sec=30)
    alone.parts.bus.api(f"STREAM.PURGE.{names.WORK_STREAM}", {"filter": job_in_hand.subject})
    eventually(lambda: found[-1][alone.tag] == Waiting(0, False), what="a look that finds nothing", timeout_sec=30)
    other = alone.submit("f", 3, tag="other")
    eventually(lambda: all_completed(alone, [other]), what="the end of another run", timeout_sec=30)
    assert not passed_on


def test_worker_that_gets_the_job_that_was_kept_back_after_all_tells_nobody_of_it(
    alone: Desk, serve: Serve, job_in_hand: Delivery, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "_ASK_SEC", 600.0)
    passed_on = heard(alone, names.hint_subject(job_in_hand.subject))
    serve("patient", consumer_max_ack_pending=1)
    eventually(lambda: found, what="the first look", timeout_sec=30)
    kept_back = alone.submit("f", 2)
    eventually(lambda: found[-1][alone.tag].is_held_back, what="a look at what is kept back", timeout_sec=30)
    alone.parts.queue.deliveries.ack(job_in_hand)
    eventually(lambda: all_completed(alone, [kept_back]), what="the end of the run that was kept back", timeout_sec=30)
    assert not passed_on
