"""Jobs that nobody here has begun go back into the queue, also after their last delivery."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pyoco_server.bridge.messages import Delivery, Write
from pyoco_server.operations.claim import Claims
from pyoco_server.operations.hand_back import hand_back_unused
from pyoco_server.operations.holder import Holders
from pyoco_server.stores.workers import WorkerStore
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A program whose consumers hand a job out once."""
    server = NatsServer(tmp_path_factory.mktemp("once") / "nats").start()
    with Parts(server.url, PYOCO_CONSUMER_MAX_DELIVER="1") as parts:
        parts.queue.ensure("default")
        yield parts
    server.stop()


@pytest.fixture(autouse=True)
def empty(once: Parts) -> None:
    once.bus.api("STREAM.PURGE.PYOCO_WORK")


def claims(parts: Parts) -> Claims:
    """Give the judgement of a worker that has begun nothing."""
    workers = WorkerStore(parts.bus, parts.config)
    holders = Holders(parts.runs, workers, disconnect_timeout_sec=60, cancel_grace_sec=60)
    return Claims(parts.runs, holders, worker_id="w", instance_id="i", is_active=lambda run_id: False)


def delivered(parts: Parts, payload: bytes) -> Delivery:
    parts.bus.write(Write("pyoco.work.default", payload))
    return eventually(lambda: parts.queue.pull("default", wait_sec=0.2), what="a delivery")


def job(run_id: str) -> bytes:
    return json.dumps({"run_id": run_id, "flow_name": "main", "tag": "default", "tags": [], "params": {}}).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "PENDING"},
        {"status": "RUNNING", "worker_id": "w", "instance_id": "i", "attempt": 1},
        {"status": "CANCELLING", "cancel_requested_at": 1.0},
    ],
    ids=["waits", "has lost its holder", "is to be cancelled"],
)
def test_job_of_a_run_that_nobody_executes_is_queued_anew_with_all_its_deliveries(
    once: Parts, fields: dict[str, Any]
) -> None:
    once.put("r1", stored_run("r1", **fields))
    delivery = delivered(once, job("r1"))
    hand_back_unused(once.queue, claims(once), delivery)
    again = eventually(lambda: once.queue.pull("default", wait_sec=0.2), what="the job coming again")
    assert (again.num_delivered, again.payload) == (1, delivery.payload)
    assert again.seq > delivery.seq
    assert len(once.jobs()) == 1


@pytest.mark.parametrize("payload", [b"no job", job("never was")], ids=["cannot be read", "has no run"])
def test_job_of_which_nobody_knows_what_it_is_is_left_to_whoever_gets_it_next(once: Parts, payload: bytes) -> None:
    delivery = delivered(once, payload)
    hand_back_unused(once.queue, claims(once), delivery)
    assert [stored.seq > delivery.seq for stored in once.jobs()] == [True]


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "RUNNING", "worker_id": "other", "instance_id": "alive", "attempt": 1},
        {"status": "PENDING", "attempt": 1, "retry_at": time.time() + 60},
        {"status": "COMPLETED"},
    ],
    ids=["is executed", "goes on with another job", "is over"],
)
def test_no_copy_is_made_of_a_job_that_has_nothing_to_do(once: Parts, fields: dict[str, Any]) -> None:
    """A copy has another number. The run of a worker that lives would be left with a job that is taken for too many,
    and without the one that another worker could go on with."""
    delivery = delivered(once, job("r1"))
    once.put("r1", stored_run("r1", **{"job_seq": delivery.seq, **fields}))
    hand_back_unused(once.queue, claims(once), delivery)
    assert [stored.seq for stored in once.jobs()] == [delivery.seq]
