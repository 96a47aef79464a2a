"""Runs that fail and are tried again by their policy, through a gateway and a worker."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from pyoco_server.errors import GatewayRefused
from tests.support.fleet import TAG, flow
from tests.support.plant import Plant
from tests.support.waiting import eventually

SOON = {"max_attempts": 3, "retry_delay_sec": 0.1}
LATER = {"max_attempts": 2, "retry_delay_sec": 3600}


@pytest.fixture(scope="module", autouse=True)
def worker(plant: Plant) -> None:
    plant.hire("--worker-id", "w1")


def _listed(plant: Plant, run_id: str) -> dict[str, Any]:
    found = plant.client.list_runs(status="PENDING")
    return next((item for item in found if item["run_id"] == run_id), {})


def waiting(plant: Plant, run_id: str) -> dict[str, Any]:
    """Wait until a run has failed and waits for its retry; gives its snapshot."""
    plant.fleet.wait_until(lambda: plant.fleet.run(run_id).get("retry_at") is not None, "the wait for the retry")
    return plant.fleet.run(run_id)


def test_a_run_that_fails_is_tried_again_and_keeps_its_id_and_its_errors(plant: Plant) -> None:
    before = time.time()
    run_id = plant.submit(flow("fail_until"), params={"name": "third", "times": 2}, **SOON)
    run = plant.fleet.ended(run_id)
    assert (run["attempt"], run["error"], run.get("retry_at")) == (3, None, None)
    assert run["task_records"]["fail_until"]["output"] == 3
    shown = plant.client.get_run(run_id)["errors"]
    assert [(item["attempt"], item["error"], item["worker_id"]) for item in shown] == [
        (1, "not yet: 1", "w1"),
        (2, "not yet: 2", "w1"),
    ]
    # 0.1 s, then twice as much.
    assert shown[1]["ended_at"] - shown[0]["ended_at"] >= 0.1
    assert run["end_time"] - shown[1]["ended_at"] >= 0.2
    assert run["start_time"] >= before
    assert plant.fleet.dead_letters(run_id) == []


def test_the_last_failure_is_final_and_has_the_only_dead_letter(plant: Plant) -> None:
    run_id = plant.submit(flow("fail"), **SOON)
    run = plant.fleet.ended(run_id, "FAILED")
    assert (run["attempt"], len(run["errors"]), run["error"]) == (3, 2, "the disk is on fire")
    (letter,) = plant.fleet.dead_letters(run_id)
    assert letter["reason"] == "execution_error"


def test_a_process_that_dies_is_tried_again(plant: Plant) -> None:
    run_id = plant.submit(flow("die_once"), params={"name": "phoenix"}, **SOON)
    run = plant.fleet.ended(run_id)
    (failure,) = run["errors"]
    assert failure["error"].startswith("worker_process_died: ")


def test_a_flow_that_is_not_found_is_not_tried_again(plant: Plant) -> None:
    run_id = plant.submit(flow("x", x="nowhere:x"), **SOON)
    run = plant.fleet.ended(run_id, "FAILED")
    assert (run["attempt"], run.get("errors")) == (1, None)


def test_a_run_that_waits_is_pending_without_a_job_and_shows_what_failed(plant: Plant) -> None:
    run_id = plant.submit(flow("quick >> fail"), **LATER)
    run = waiting(plant, run_id)
    assert (run["status"], run["worker_id"], run["end_time"], run["error"]) == ("PENDING", None, None, None)
    assert run["tasks"] == {"quick": "SUCCEEDED", "fail": "FAILED"}
    assert abs(run["retry_at"] - run["errors"][0]["ended_at"] - 3600) < 1
    plant.fleet.wait_until(lambda: not plant.fleet.has_job(run_id), "the acknowledgement")
    # Read past the gateway, which may hear of it later.
    eventually(lambda: _listed(plant, run_id).get("attempt") == 1, what="the spent attempt in the list")


def test_the_spent_job_of_a_waiting_run_executes_nothing(plant: Plant) -> None:
    run_id = plant.submit(flow("fail_until"), params={"name": "spent", "times": 1}, **LATER)
    waiting(plant, run_id)
    plant.fleet.wait_until(lambda: not plant.fleet.has_job(run_id), "the acknowledgement")
    job = plant.fleet.store_pending(flow("quick"))
    copy = json.dumps({**json.loads(job.to_bytes()), "run_id": run_id}).encode()
    plant.fleet.queue(copy)
    plant.fleet.wait_until(lambda: not plant.fleet.has_job(run_id), "the end of the copy")
    assert plant.fleet.run(run_id)["attempt"] == 1


def test_a_waiting_run_that_is_cancelled_is_never_executed_again(plant: Plant) -> None:
    run_id = plant.submit(flow("fail"), **LATER)
    waiting(plant, run_id)
    assert plant.client.cancel_run(run_id)["status"] == "CANCELLING"
    run = plant.fleet.ended(run_id, "CANCELLED")
    assert (run["attempt"], run.get("retry_at"), run["error"]) == (1, None, None)
    assert len(run["errors"]) == 1
    assert plant.fleet.dead_letters(run_id) == []


@pytest.mark.parametrize("form", ["name", "yaml", "batch", "command", "command-yaml", "each"])
def test_every_way_to_submit_takes_the_policy(plant: Plant, form: str) -> None:
    workflow = flow("quick")
    (plant.folder / "flow.yaml").write_text(workflow)
    (plant.folder / "sets.jsonl").write_text("{}\n")
    policy = {"max_attempts": 2, "retry_delay_sec": 3600, "timeout_sec": 5, "resume": False}
    flags = ("--tag", "nobody", "--max-attempts", "2", "--retry-delay-sec", "3600", "--timeout-sec", "5", "--no-resume")
    file = ("--workflow-file", "flow.yaml", "--flow-name", "main")
    if form == "name":
        answer = plant.client.submit_run("main", tag="nobody", **policy)
    elif form == "yaml":
        answer = plant.client.submit_run_yaml(workflow, flow_name="main", tag="nobody", **policy)
    elif form == "batch":
        (answer,) = plant.client.submit_batch([{"flow_name": "main", "tag": "nobody", **policy}])
    elif form == "command":
        answer = json.loads(plant.command("submit", *flags).stdout)
    else:
        each = ("--params-file", "sets.jsonl", "--each") if form == "each" else ()
        answer = json.loads(plant.command("submit-yaml", *file, *flags, *each).stdout)
    run = plant.client.get_run(answer["run_id"])
    assert {name: run[name] for name in policy} == policy


@pytest.mark.parametrize(
    ("policy", "place"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 51}, "max_attempts"),
        ({"max_attempts": "3"}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"retry_delay_sec": -1}, "retry_delay_sec"),
        ({"retry_delay_sec": 86_401}, "retry_delay_sec"),
    ],
)
@pytest.mark.parametrize("form", ["body", "form"])
def test_a_policy_out_of_range_is_refused_with_its_place(
    plant: Plant, form: str, policy: dict[str, Any], place: str
) -> None:
    with pytest.raises(GatewayRefused) as refused:
        if form == "body":
            plant.client.submit_run("main", tag=TAG, **policy)
        else:
            plant.client.submit_run_yaml(flow("quick"), flow_name="main", **policy)
    assert refused.value.status == 422
    assert [fault["loc"] for fault in refused.value.problem["errors"]] == [f"{form}.{place}"]
