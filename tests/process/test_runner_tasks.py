"""What a runner makes of the tasks of a flow: order, results, failures, imports."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.process.conftest import Workshop
from tests.support.fleet import flow


def test_parallel_branches_run_side_by_side(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run = fleet.ended(fleet.submit(flow("quick >> left\nquick >> right")))
    # Each of the two waits for the file that the other writes.
    assert [run["task_records"][name]["output"] for name in ("left", "right")] == ["left", "right"]


def test_params_are_given_to_tasks_and_recorded_as_inputs(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run = fleet.ended(fleet.submit(flow("echo", {"value": "default"}), params={"value": [1, {"a": None}]}))
    record = run["task_records"]["echo"]
    assert record["inputs"] == {"value": [1, {"a": None}]}
    assert record["output"] == [1, {"a": None}]
    assert record["started_at"] <= record["ended_at"] <= time.time()
    assert record["duration_ms"] >= 0


def test_failing_task_fails_the_run_with_its_text_and_one_dead_letter(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run_id = fleet.submit(flow("fail >> quick"), tags=["nightly"], tenant_id="acme", api_key_id="key12345")
    run = fleet.ended(run_id, "FAILED")
    assert run["error"] == "the disk is on fire"
    assert run["tasks"] == {"fail": "FAILED", "quick": "PENDING"}
    assert run["task_records"]["fail"]["error"] == "the disk is on fire"
    assert 'raise ValueError("the disk is on fire")' in run["task_records"]["fail"]["traceback"]
    (letter,) = fleet.dead_letters(run_id)
    assert letter.pop("timestamp") == pytest.approx(time.time(), abs=20)
    assert letter == {
        "reason": "execution_error",
        "error": "the disk is on fire",
        "run_id": run_id,
        "flow_name": "main",
        "tag": "t",
        "tags": ["nightly"],
        "tenant_id": "acme",
        "api_key_id": "key12345",
        "worker_id": "w1",
    }
    # The worker goes on, and so does the runner.
    fleet.ended(fleet.submit(flow("quick")))


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("exit_in_order", "SystemExit: enough"),
        ("out_of_memory", "no room for 9 GB"),
        ("raise_unspeakable", "no words"),
    ],
)
def test_odd_exception_is_an_ordinary_failure_of_its_task(workshop: Workshop, task: str, error: str) -> None:
    fleet = workshop.fleet
    before = fleet.ended(fleet.submit(flow("quick")))["task_records"]["quick"]["output"]
    run_id = fleet.submit(flow(f"{task} >> quick"))
    run = fleet.ended(run_id, "FAILED")
    assert run["tasks"] == {task: "FAILED", "quick": "PENDING"}
    assert error in (run["error"], run["task_records"][task]["error"])
    assert task in run["task_records"][task]["traceback"]
    assert [letter["reason"] for letter in fleet.dead_letters(run_id)] == ["execution_error"]
    # The runner is still the same process.
    assert fleet.ended(fleet.submit(flow("quick")))["task_records"]["quick"]["output"] == before


def test_error_text_of_megabytes_is_cut(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run = fleet.ended(fleet.submit(flow("raise_much")), "FAILED")
    assert run["error"].startswith("xxx")
    assert len(run["error"]) == 8192
    assert len(run["task_records"]["raise_much"]["traceback"]) <= 65_536
    assert run["task_records_truncated"] is True


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("no_such_module:task", "No module named 'no_such_module'"),
        ("sample_tasks:no_such_task", "has no attribute 'no_such_task'"),
        ("sample_tasks:HOME", "which cannot be called"),
        ("bad_syntax:task", "SyntaxError"),
        ("bad_import:task", "ZeroDivisionError: division by zero"),
        ("bad_exit:task", "SystemExit: 3"),
    ],
)
def test_task_that_cannot_be_imported_fails_the_run_with_the_import_error(
    workshop: Workshop, path: str, error: str
) -> None:
    fleet = workshop.fleet
    (fleet.folder / "bad_syntax.py").write_text("def task(:\n")
    (fleet.folder / "bad_import.py").write_text("task = 1 / 0\n")
    (fleet.folder / "bad_exit.py").write_text("raise SystemExit(3)\n")
    run_id = fleet.submit(flow("broken", broken=path))
    run = fleet.ended(run_id, "FAILED")
    assert run["error"].startswith(f"flow_not_found: {path}")
    assert error in run["error"]
    assert run["tasks"] == {"broken": "PENDING"}
    (letter,) = fleet.dead_letters(run_id)
    assert (letter["reason"], letter["error"]) == ("flow_not_found", run["error"])


def test_run_works_in_a_folder_of_its_own_that_is_gone_afterwards(workshop: Workshop) -> None:
    fleet = workshop.fleet
    first, second = (fleet.ended(fleet.submit(flow("cwd")))["task_records"]["cwd"]["output"] for _ in range(2))
    assert first != second
    assert str(fleet.folder) not in (first, second)
    fleet.wait_until(lambda: not any(Path(path).exists() for path in (first, second)), "the removal of the folders")
