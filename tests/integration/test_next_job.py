"""A slot that asks for its next job while the end of its run is written."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from pyoco_server.bridge.deliveries import Deliveries
from pyoco_server.bridge.messages import Delivery
from pyoco_server.bridge.streams import change_stream
from pyoco_server.library.local_runner import LocalRunner
from pyoco_server.runner.allowed import Allowed
from pyoco_server.worker import consumer
from pyoco_server.worker.supervisor import Worker, WorkerOptions
from tests.support.library import Desk, Notes, desk
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

Serve = Callable[..., Worker]


@pytest.fixture
def alone(nats: NatsServer) -> Iterator[Desk]:
    """A view of a NATS that only this test has."""
    with desk(nats.url) as made:
        yield made


@pytest.fixture
def serve(alone: Desk, notes: Notes) -> Iterator[Serve]:
    """Starts workers with one slot in this process."""
    started: list[Worker] = []

    def start(worker_id: str, **settings: Any) -> Worker:
        # It asks of its own accord so seldom that a test would notice.
        options = WorkerOptions(worker_id, [alone.tag], poll_timeout_sec=600.0, is_embedded=True)
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
