"""New runs from runs that have ended."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from pyoco_server.errors import GatewayRefused
from tests.support.fleet import flow
from tests.support.plant import Plant

POLICY = {"max_attempts": 1, "retry_delay_sec": 5, "timeout_sec": 60}


@pytest.fixture(scope="module", autouse=True)
def worker(plant: Plant) -> None:
    plant.hire_for_names()


def failed(plant: Plant, form: str = "yaml") -> tuple[str, dict[str, Any]]:
    """Have a run fail whose last task will succeed the next time; gives its name and its end."""
    name = uuid.uuid4().hex[:8]
    params = {"name": name, "times": 1}
    if form == "yaml":
        run_id = plant.submit(flow("one >> fail_until"), params=params, **POLICY)
    else:
        run_id = plant.client.submit_run("any", params, tag="t", tags=["a", "b"], **POLICY)["run_id"]
    return name, plant.fleet.ended(run_id, "FAILED")


@pytest.mark.parametrize("form", ["yaml", "name"])
def test_a_rerun_is_a_new_run_of_the_same_flow_with_the_same_parameters(plant: Plant, form: str) -> None:
    name, old = failed(plant, form)
    answer = plant.client.rerun(old["run_id"])
    assert answer["status"] == "PENDING" and answer["run_id"] != old["run_id"]
    run = plant.fleet.ended(answer["run_id"])
    assert run["rerun_of"] == old["run_id"]
    for field in ("flow_name", "params", "tag", "tags", "workflow_yaml_sha256", "retry_delay_sec", "timeout_sec"):
        assert run[field] == old[field]
    assert (run["attempt"], plant.begun(name, "one")) == (1, 2)
    assert plant.fleet.run(old["run_id"]) == old


def test_from_the_failed_tasks_on_finished_work_is_left_out(plant: Plant) -> None:
    name, old = failed(plant)
    done = plant.command("rerun", old["run_id"], "--from-failed")
    run = plant.fleet.ended(json.loads(done.stdout)["run_id"])
    assert plant.begun(name, "one") == 1
    assert run["task_records"]["one"] == old["task_records"]["one"]
    assert run["tasks"] == {"one": "SUCCEEDED", "fail_until": "SUCCEEDED"}
    assert run.get("resume_note") is None


def test_from_the_failed_tasks_on_the_wheels_must_be_the_same(plant: Plant) -> None:
    name, old = failed(plant)
    plant.fleet.change(old["run_id"], wheels=[{"name": "a", "version": "1", "sha256": "0"}])
    run = plant.fleet.ended(plant.client.rerun(old["run_id"], from_failed=True)["run_id"])
    assert plant.begun(name, "one") == 2
    assert "other wheels" in run["resume_note"]


def test_from_the_failed_tasks_on_a_flow_of_the_workers_own_begins_from_the_start_and_says_so(plant: Plant) -> None:
    name, old = failed(plant, "name")
    run = plant.fleet.ended(plant.client.rerun(old["run_id"], from_failed=True)["run_id"])
    assert plant.begun(name, "one") == 2
    assert run["resume_note"].startswith("It began again from the start")


def test_a_rerun_with_a_key_is_one_run(plant: Plant) -> None:
    _, old = failed(plant)
    first, again = (plant.client.rerun(old["run_id"], idempotency_key="once") for _ in range(2))
    assert first == again
    with pytest.raises(GatewayRefused) as refused:
        plant.client.rerun(old["run_id"], from_failed=True, idempotency_key="once")
    assert refused.value.status == 422


@pytest.mark.parametrize("case", ["not ended", "nothing failed", "no workflow", "no run", "no such place"])
def test_what_cannot_be_run_again_is_refused_in_a_sentence(plant: Plant, case: str) -> None:
    if case == "not ended":
        run_id = plant.client.submit_run("any", tag="nobody")["run_id"]
    elif case == "nothing failed":
        run_id = plant.submit(flow("quick"))
        plant.fleet.ended(run_id)
    elif case == "no run":
        run_id = "nobody"
    else:
        run_id = failed(plant)[1]["run_id"]
    if case == "no workflow":
        plant.fleet.change(run_id, workflow_yaml_sha256="0" * 64)
    with pytest.raises(GatewayRefused) as refused:
        if case == "no such place":
            plant.client._object("POST", f"/runs/{run_id}/rerun", data=b'{"from": "middle"}', timeout=10)
        else:
            plant.client.rerun(run_id, from_failed=case == "nothing failed")
    assert refused.value.status == {"no run": 404, "no such place": 422}.get(case, 409)
    words = {"not ended": "is PENDING", "nothing failed": "Nothing of run", "no workflow": "not kept"}
    assert words.get(case, "") in str(refused.value)


def test_a_post_without_a_body_reruns_all(plant: Plant) -> None:
    name, old = failed(plant)
    answer = plant.client._object("POST", f"/runs/{old['run_id']}/rerun", timeout=10)
    plant.fleet.ended(answer["run_id"])
    assert plant.begun(name, "one") == 2
