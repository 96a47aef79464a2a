"""Work that is finished is not done again by a later attempt, unless that could give another result."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import yaml

from tests.support.fleet import flow
from tests.support.plant import Plant

AGAIN = {"max_attempts": 2, "retry_delay_sec": 0}


@pytest.fixture(scope="module", autouse=True)
def worker(plant: Plant) -> None:
    plant.hire_for_names()


def retried(plant: Plant, graph: str, policy: dict[str, Any] | None = None, **callables: str) -> tuple[str, Any]:
    """Have a run fail once in its last task and succeed at its second attempt; gives its name and its end."""
    name = uuid.uuid4().hex[:8]
    workflow = flow(f"{graph} >> fail_until", **callables)
    run_id = plant.submit(workflow, params={"name": name, "times": 1}, **AGAIN, **(policy or {}))
    return name, plant.fleet.ended(run_id)


def test_a_retry_leaves_out_what_is_finished_and_passes_its_results_on(plant: Plant) -> None:
    name, run = retried(plant, "one >> two")
    assert (run["attempt"], run["tasks"]) == (2, dict.fromkeys(("one", "two", "fail_until"), "SUCCEEDED"))
    assert [plant.begun(name, task) for task in ("one", "two")] == [1, 1]
    records = run["task_records"]
    assert (records["one"]["output"], records["two"]["output"]) == ({"value": 1}, 2)
    assert records["two"]["ended_at"] <= run["errors"][0]["ended_at"] < records["fail_until"]["started_at"]
    assert run.get("resume_note") is None


def test_a_task_that_is_executed_again_is_given_the_results_that_were_put_back(plant: Plant) -> None:
    name = uuid.uuid4().hex[:8]
    workflow = flow("one >> fail_until >> two")
    run = plant.fleet.ended(plant.submit(workflow, params={"name": name, "times": 1}, **AGAIN))
    assert (plant.begun(name, "one"), run["task_records"]["two"]["output"]) == (1, 2)


def test_a_take_over_leaves_out_what_is_finished(plant: Plant) -> None:
    name, tag = uuid.uuid4().hex[:8], "takeover"
    first = plant.hire("--tags", tag)
    run_id = plant.submit(flow("one >> hold"), params={"name": name}, tag=tag)
    plant.fleet.running(run_id, "hold")
    plant.fleet.wait_until(lambda: plant.fleet.run(run_id)["tasks"]["one"] == "SUCCEEDED", "the first task's record")
    first.kill()
    plant.hire("--tags", tag)
    plant.fleet.touch(name)
    run = plant.fleet.ended(run_id)
    assert (run["attempt"], plant.begun(name, "one")) == (2, 1)


@pytest.mark.parametrize("first", ["pair", "with_file", "with_folder", "with_link", "with_context", "much", "deep"])
def test_what_its_stored_result_does_not_wholly_replace_is_done_again_with_all_that_follows(
    plant: Plant, first: str
) -> None:
    name, run = retried(plant, "one >> two", one=f"sample_tasks:{first}")
    assert [plant.begun(name, task) for task in ("one", "two")] == [2, 2]
    assert run["attempt"] == 2


def test_a_file_with_the_large_output_of_a_task_has_no_other_done_again(plant: Plant) -> None:
    name = uuid.uuid4().hex[:8]
    workflow = flow("much >> fail_until\nafter_file >> fail_until")
    run = plant.fleet.ended(plant.submit(workflow, params={"name": name, "times": 1}, **AGAIN), timeout_sec=90)
    assert "much/output.txt" in run["task_records"]["much"]["artifacts"]
    assert [plant.begun(name, task) for task in ("one", "after_file")] == [2, 1]


def test_a_number_that_is_stored_as_a_text_is_made_again(plant: Plant) -> None:
    name, _ = retried(plant, "one", one="sample_tasks:long_number")
    assert plant.begun(name, "one") == 2


def test_who_does_not_want_it_has_everything_done_again(plant: Plant) -> None:
    name, run = retried(plant, "one", {"resume": False})
    assert (plant.begun(name, "one"), run["resume"]) == (2, False)


@pytest.mark.parametrize("part", ["repeat(count=1) { two }", "switch(on={{ params.times }}) { 1: two }"])
def test_a_flow_with_a_loop_or_a_switch_begins_from_the_start_and_says_so(plant: Plant, part: str) -> None:
    name = uuid.uuid4().hex[:8]
    document = yaml.safe_load(flow("one >> two >> fail_until"))
    document["flow"]["graph"] = f"one >> {part} >> fail_until"
    run = plant.fleet.ended(plant.submit(yaml.safe_dump(document), params={"name": name, "times": 1}, **AGAIN))
    assert plant.begun(name, "one") == 2
    assert run["resume_note"] == "It began again from the start: its flow has loops or switches."


def test_a_flow_of_the_workers_own_begins_from_the_start_and_says_so(plant: Plant) -> None:
    name = uuid.uuid4().hex[:8]
    answer = plant.client.submit_run("any", {"name": name, "times": 1}, tag="t", **AGAIN)
    run = plant.fleet.ended(answer["run_id"])
    assert plant.begun(name, "one") == 2
    assert run["resume_note"].startswith("It began again from the start: its flow is the worker's own")


def test_a_cancelled_run_keeps_what_an_earlier_attempt_has_finished(plant: Plant) -> None:
    name = uuid.uuid4().hex[:8]
    graph = "one >> fail_until >> until_cancelled"
    run_id = plant.submit(flow(graph), params={"name": name, "times": 1}, **AGAIN)
    plant.fleet.running(run_id, "until_cancelled")
    plant.client.cancel_run(run_id)
    assert plant.fleet.ended(run_id, "CANCELLED")["tasks"]["one"] == "SUCCEEDED"
