"""The gateway's housekeeping where NATS refuses a part of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.support.gateway import LocalGateway
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually


def test_a_duty_that_is_refused_leaves_the_others_alone(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    now = time.time()
    due = {"origin": "a gateway", "attempt": 1, "max_attempts": 3, "submitted_at": now, "retry_at": now}
    parts.put("due", stored_run("due", updated_at=now, **due))
    long_gone = {"worker_id": "w", "instance_id": "life", "state": "RUNNING", "tags": [], "last_seen_at": 1.0}
    # The bucket of runs is full.
    parts.configure("KV_pyoco_runs", max_bytes=1, discard="new")
    parts.put("w", long_gone, bucket="pyoco_workers")
    gateway = serve()
    # The first duty of each turn is the retry; workers come behind it.
    eventually(lambda: "w" not in parts.keys("pyoco_workers"), what="the end of the old record")
    assert parts.snapshot("due")["retry_at"] == now
    # And it is done as soon as it can be.
    parts.configure("KV_pyoco_runs", max_bytes=-1)
    eventually(parts.jobs, what="its job")
    assert gateway.get("/runs/due").json()["status"] == "PENDING"
