"""``POST /runs`` while NATS takes the snapshot but not the job, or answers nothing."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import HELLO_FLOW
from tests.support.gateway import LocalGateway, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

WORK = "PYOCO_WORK"


def fill_up(parts: Parts, local: LocalGateway) -> None:
    local.submit()
    parts.configure(WORK, max_msgs=1, discard="new")


def take_other_subjects(parts: Parts, local: LocalGateway) -> None:
    """Nobody takes jobs then, and the stream is still there."""
    parts.configure(WORK, subjects=["pyoco.elsewhere.>"])


@pytest.mark.parametrize(("make_trouble", "form"), [(fill_up, "name"), (take_other_subjects, "yaml")])
def test_a_run_whose_job_is_refused_leaves_nothing_behind(
    local: LocalGateway, parts: Parts, make_trouble: Callable[[Parts, LocalGateway], None], form: str
) -> None:
    make_trouble(parts, local)
    before = parts.keys()
    if form == "yaml":
        answer = local.ask("POST", "/runs/yaml?flow_name=main", data=HELLO_FLOW)
    else:
        answer = local.ask("POST", "/runs", json={"flow_name": "main"})
    document = problem(answer, 503)
    assert document["err_id"] == "ERR-PYOCO-0003"
    assert "run_id" not in document
    assert parts.keys() == before
    assert {run["run_id"] for run in local.get("/runs").json()} == before

    parts.configure(WORK, subjects=["pyoco.work.>"], max_msgs=-1)
    assert local.submit() in parts.queued_ids()
    assert parts.queued_ids() == sorted(parts.keys())


def test_a_run_that_cannot_be_removed_again_is_named_and_queued_later(local: LocalGateway, parts: Parts) -> None:
    parts.configure("KV_pyoco_runs", deny_purge=True, allow_rollup_hdrs=False)
    parts.configure(WORK, subjects=["pyoco.elsewhere.>"])
    document = problem(local.ask("POST", "/runs", json={"flow_name": "main"}), 503)
    run_id = document["run_id"]
    assert run_id in document["detail"]
    assert local.get(f"/runs/{run_id}").json()["status"] == "PENDING"
    parts.configure(WORK, subjects=["pyoco.work.>"])
    queue_what_is_missing(parts)
    assert parts.queued_ids() == [run_id]


def test_a_run_whose_job_was_stored_without_an_answer_is_named_and_has_one_job_in_the_end(
    local: LocalGateway, parts: Parts
) -> None:
    parts.configure(WORK, no_ack=True)
    document = problem(local.ask("POST", "/runs", json={"flow_name": "main"}), 503)
    parts.configure(WORK, no_ack=False)
    run_id = document["run_id"]
    assert local.get(f"/runs/{run_id}").json()["status"] == "PENDING"
    queue_what_is_missing(parts)
    assert parts.queued_ids() == [run_id]


def test_a_run_that_nats_took_while_it_hung_has_one_job_in_the_end(
    nats: NatsServer, local: LocalGateway, parts: Parts
) -> None:
    nats.send(signal.SIGSTOP)
    document = problem(local.ask("POST", "/runs", json={"flow_name": "main"}), 503)
    nats.send(signal.SIGCONT)
    # nats-server may answer this question before it has stored what it was sent earlier.
    path = f"/runs/{document['run_id']}"
    eventually(lambda: local.ask("GET", path).json()["status"] == "PENDING", what="the run that nobody confirmed")
    queue_what_is_missing(parts)
    assert parts.queued_ids() == [document["run_id"]]


def test_the_snapshot_is_stored_before_the_job(local: LocalGateway, parts: Parts) -> None:
    for _ in range(20):
        local.submit()
    for job in parts.jobs():
        assert parts.runs.get(json.loads(job.payload)["run_id"]).stored_at <= job.stored_at


def queue_what_is_missing(parts: Parts) -> Any:
    """Sweep as any gateway does it after a while."""
    return parts.sweep().sweep(parts.runs.server_time() + 1)
