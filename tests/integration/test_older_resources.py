"""Streams and buckets that a 0.5.1 fleet has made: used as they are, and everything works on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyoco_server.bridge.client import Bus
from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus
from tests.conftest import HELLO_FLOW
from tests.support.commands import Daemon
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.sse import EventStream
from tests.support.waiting import eventually

SECOND = 1_000_000_000


def older_bucket(bucket: str, **settings: Any) -> dict[str, Any]:
    """Settings of a bucket as nats-py made it before it knew of expiry by key."""
    return {
        "name": f"KV_{bucket}",
        "subjects": [f"$KV.{bucket}.>"],
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "duplicate_window": 120 * SECOND,
        **settings,
    }


STREAMS: list[dict[str, Any]] = [
    {"name": "PYOCO_WORK", "subjects": ["pyoco.work.>"], "retention": "workqueue", "duplicate_window": 120 * SECOND},
    {"name": "PYOCO_DLQ", "subjects": ["pyoco.dlq.>"], "max_age": 7 * 86400 * SECOND, "max_msgs": 100_000},
    older_bucket("pyoco_runs"),
    older_bucket("pyoco_workers", max_age=15 * SECOND, duplicate_window=15 * SECOND),
]
CONSUMER = {
    "durable_name": "pyoco_workers_hello",
    "filter_subject": "pyoco.work.hello",
    "ack_policy": "explicit",
    "ack_wait": 20 * SECOND,
    "max_deliver": 7,
    "max_ack_pending": 50,
}


@pytest.fixture
def older(nats: NatsServer) -> Iterator[Bus]:
    """A connection to a NATS with the resources of a 0.5.1 fleet that its operator has tuned."""
    bus = Bus(nats.url, name="operator", budget_sec=4, waits_when_down=False)
    bus.connect(5)
    for settings in STREAMS:
        bus.api(f"STREAM.CREATE.{settings['name']}", {**settings, "storage": "file", "num_replicas": 1})
    name = CONSUMER["durable_name"]
    body = {"stream_name": "PYOCO_WORK", "config": CONSUMER, "action": "create"}
    bus.api(f"CONSUMER.CREATE.PYOCO_WORK.{name}.pyoco.work.hello", body)
    yield bus
    bus.close(Deadline(5))


def settings_of(bus: Bus) -> list[dict[str, Any]]:
    streams = [bus.api(f"STREAM.INFO.{settings['name']}")["config"] for settings in STREAMS]
    return [*streams, bus.api(f"CONSUMER.INFO.PYOCO_WORK.{CONSUMER['durable_name']}")["config"]]


def test_a_run_goes_all_the_way_on_them_and_they_stay_as_they_are(
    older: Bus, serve: Callable[..., LocalGateway], start_worker: Callable[..., Daemon]
) -> None:
    before = settings_of(older)
    assert not before[0].get("allow_direct") and not before[2].get("allow_msg_ttl")
    gateway = serve()
    gateway.wait_until_complete()
    start_worker("--tags", "hello", "--worker-id", "w1")
    answer = gateway.ask("POST", "/runs/yaml?flow_name=main&tag=hello", data=HELLO_FLOW)
    assert answer.status_code == 200, answer.text
    run_id = answer.json()["run_id"]
    with EventStream(gateway.port, f"/runs/{run_id}/watch?include=records", timeout_sec=30) as stream:
        last = list(stream.snapshots())[-1].data["snapshot"]
    assert (last["status"], last["task_records"]["to_text"]["output"]) == ("COMPLETED", "v=2")
    eventually(lambda: gateway.get(f"/runs/{run_id}").json().get("worker_alive"), what="the worker being known")
    assert [run["run_id"] for run in gateway.get("/runs?include=full&status=COMPLETED").json()] == [run_id]
    assert settings_of(older) == before


def test_refusals_removals_and_the_sweep_work_on_them(
    older: Bus, nats: NatsServer, serve: Callable[..., LocalGateway]
) -> None:
    gateway = serve()
    gateway.wait_until_complete()
    with Parts(nats.url) as parts:
        kept, removed = gateway.submit(), gateway.submit()
        parts.change(kept, status=RunStatus.RUNNING)
        gateway.wait_until_applied(parts.tombstone(removed))
        assert [(run["run_id"], run["status"]) for run in gateway.get("/runs").json()] == [(kept, "RUNNING")]

        parts.configure("PYOCO_WORK", max_msgs=2, discard="new")
        assert gateway.ask("POST", "/runs", json={"flow_name": "main"}).status_code == 503
        assert [run["run_id"] for run in gateway.get("/runs").json()] == [kept]
        parts.configure("PYOCO_WORK", max_msgs=-1)

        waiting = gateway.submit()
        assert parts.sweep().sweep(time.time() + 1) == 1
        # Their memory for message ids is shorter than ours, and long enough.
        assert parts.queued_ids() == sorted([kept, removed, waiting])
