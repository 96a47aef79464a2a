"""The look of ``doctor`` and ``status`` at an installation: what it asks, and by which clock it judges."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.overview import list_consumers
from pyoco_server.contract import names
from pyoco_server.operations.survey import look
from tests.support.fake_gateway import fake_gateway, json_answer
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually


@pytest.fixture
def seen(calm_nats: NatsServer) -> Iterator[Parts]:
    """An installation with one worker, which was heard of just now."""
    with Parts(calm_nats.url) as parts:
        now = time.time()
        record = {"worker_id": "w", "instance_id": "i", "state": "IDLE", "tags": ["t"], "updated_at": now}
        parts.put("w", {**record, "last_seen_at": now}, bucket="pyoco_workers")
        yield parts


def test_a_machine_whose_clock_is_wrong_takes_no_worker_for_lost(seen: Parts) -> None:
    found = look(seen.bus, seen.config, (), clock=lambda: time.time() + 3600)
    assert found.clock_ahead_sec == pytest.approx(3600, abs=60)
    (worker,) = found.workers
    assert worker.view.is_alive


def test_a_server_that_was_started_anew_has_forgotten_when_it_last_handed_a_job_out(nats: NatsServer) -> None:
    with Parts(nats.url) as parts:
        parts.queue.ensure("t")
        made_by = time.time()
        parts.bus.write(Write("pyoco.work.t", b"{}"))
        job = parts.queue.pull("t", wait_sec=30)
        assert job is not None
        parts.queue.deliveries.ack(job)

        def idle_sec() -> float:
            (consumer,) = list_consumers(parts.bus, names.WORK_STREAM)
            return consumer.idle_sec

        assert idle_sec() < time.time() - made_by
        nats.stop()
        eventually(lambda: not parts.bus.is_connected, what="the loss noticed", timeout_sec=60)
        nats.start()
        eventually(lambda: parts.bus.is_connected, what="the connection", timeout_sec=60)
        asked_at = time.time()
        assert idle_sec() >= asked_at - made_by


def test_what_was_asked_once_is_not_asked_again(seen: Parts) -> None:
    asked: list[Any] = []
    subscription = seen.bus.call(seen.bus.subscribe("$JS.API.STREAM.LIST", asked.append), timeout_sec=5)
    with fake_gateway() as monitor:
        monitor.answers.append(json_answer({}))
        found = look(seen.bus, seen.config, [monitor.url])
        assert [request.path for request in monitor.requests] == ["/jsz"]
    seen.bus.call(subscription.unsubscribe(), timeout_sec=5)
    assert (found.nodes, found.silent_monitors, len(asked)) == ([], [monitor.url], 1)
