"""Ending runs where NATS does not play along."""

from __future__ import annotations

import time
from dataclasses import replace

from pyoco_server.operations.authenticate import ANYBODY
from pyoco_server.operations.finish import Finish, Outcome
from pyoco_server.operations.submit import RunRequest
from pyoco_server.states import RunStatus
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
    finish = Finish(parts.queue.deliveries, parts.runs, parts.dead_letters, parts.config, worker_id="w")
    began_at = time.monotonic()
    ended = finish.finish(claimed, forgotten, Outcome(RunStatus.COMPLETED))
    assert time.monotonic() - began_at < 5
    assert ended is not None and ended.status is RunStatus.COMPLETED
    # It comes again, and whoever gets it drops it.
    finish.drop(parts.runs.get(run_id), delivery)
    assert parts.jobs() == []
