"""The leases of runs that were handed out over HTTP: kept by any gateway, and taken back from who is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from pyoco_server.contract.jobs import Job
from pyoco_server.operations.claim import Claims, Verdict
from pyoco_server.operations.holder import Holders
from pyoco_server.service import Deadline
from pyoco_server.stores.workers import WorkerStore
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts
from tests.support.polling import NOTHING, beat, dead_letters, poll, read
from tests.support.waiting import eventually

#: Under these a silent worker loses its run within two seconds.
QUICK = {
    "PYOCO_POLL_LEASE_SEC": "1",
    "PYOCO_CONSUMER_ACK_WAIT_SEC": "1",
    "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "0.2",
}


def is_delivered(parts: Parts, *, during_sec: float) -> bool:
    """Say whether the queue gives the job to a worker that asks it all the time."""
    begun = time.monotonic()
    while time.monotonic() - begun < during_sec:
        if parts.queue.pull("default", wait_sec=0.1) is not None:
            return True
    return False


def test_a_run_whose_worker_is_silent_comes_back(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    local = serve(**QUICK)
    local.wait_until_complete()
    run_id = local.submit("f")
    poll(local, worker_id="lost")
    beat(local, run_id, task_states={"a": "RUNNING"})
    again = eventually(lambda: poll(local, worker_id="next")["run_id"], what="the run coming back")
    run = read(local, run_id)
    assert (again, run["worker_id"], run["attempt"]) == (run_id, "next", 2)
    assert beat(local, run_id, "COMPLETED") is False
    assert parts.jobs() == []


@pytest.mark.long
def test_a_silent_worker_keeps_its_run_for_as_long_as_its_lease_lasts_whichever_gateway_lives(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    # With an interval that no worker would be started with.
    waits = {"PYOCO_CONSUMER_ACK_WAIT_SEC": "2", "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "10"}
    quick = {**QUICK, "PYOCO_POLL_LEASE_SEC": "600", **waits}
    first, second = serve(**quick), serve(**quick)
    second.wait_until_complete()
    run_id = first.submit("f")
    poll(first)
    first.server.stop(Deadline(5))
    # Several times the queue's patience: without the second gateway a worker that pulls would be given the job.
    assert not is_delivered(parts, during_sec=4.5)
    assert beat(second, run_id, "COMPLETED") is False
    assert parts.jobs() == []


@pytest.mark.long
def test_heartbeats_keep_a_run_beyond_its_first_lease(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    local = serve(**{**QUICK, "PYOCO_CONSUMER_ACK_WAIT_SEC": "2"})
    local.wait_until_complete()
    run_id = local.submit("f")
    poll(local)
    begun = time.monotonic()
    while time.monotonic() - begun < 4.5:
        assert beat(local, run_id) is False
        assert not is_delivered(parts, during_sec=0.2)


@pytest.mark.long
def test_a_run_that_every_worker_loses_fails_in_the_end(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    local = serve(**QUICK, PYOCO_CONSUMER_MAX_DELIVER="2")
    local.wait_until_complete()
    run_id = local.submit("f")
    eventually(lambda: (poll(local)["run_id"] and None) or read(local, run_id)["status"] == "FAILED", what="its end")
    ended = read(local, run_id)
    assert (ended["attempt"], ended["error"].partition(":")[0]) == (2, "max_deliveries")
    eventually(lambda: not parts.jobs(), what="the end of its jobs")
    assert len(dead_letters(parts)) == 1


def test_a_worker_that_comes_back_before_its_run_is_taken_over_keeps_it(serve: Callable[..., LocalGateway]) -> None:
    local = serve(**QUICK)
    local.wait_until_complete()
    run_id = local.submit("f")
    poll(local)
    eventually(lambda: read(local, run_id)["lease_until"] < time.time() - 2, what="the end of lease and patience")
    assert beat(local, run_id) is False
    assert poll(local) == NOTHING
    assert beat(local, run_id, "COMPLETED") is False
    assert (read(local, run_id)["status"], read(local, run_id)["attempt"]) == ("COMPLETED", 1)


def test_a_worker_that_comes_back_after_another_kind_of_worker_took_its_run_is_told_to_stop(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    local = serve(**QUICK)
    local.wait_until_complete()
    run_id = local.submit("f")
    poll(local)
    delivery = eventually(lambda: parts.queue.pull("default", wait_sec=0.1), what="the job coming again")
    holders = Holders(parts.runs, WorkerStore(parts.bus, parts.config), disconnect_timeout_sec=20, cancel_grace_sec=30)
    claims = Claims(parts.runs, holders, worker_id="ours", instance_id="life", is_active=lambda run_id: True)
    claim = claims.claim(Job.from_bytes(delivery.payload), delivery, time.time())
    assert claim.verdict is Verdict.EXECUTE
    taken = read(local, run_id)
    assert (taken["worker_id"], taken["attempt"]) == ("ours", 2)
    assert not taken.keys() & {"lease_until", "lease_reply", "timeout_at"}
    assert beat(local, run_id) is True
    assert beat(local, run_id, "FAILED", task_states={"a": "FAILED"}, logs=[{"seq": 0, "text": "late"}]) is False
    assert read(local, run_id) == taken
    assert local.get(f"/runs/{run_id}/logs").json()["logs"] == []
