"""Limits of single runs: how long an attempt may take, and how much memory its processes."""

from __future__ import annotations

import time

import pytest

from tests.support.crew import Crew
from tests.support.fleet import flow, is_alive

MIB = 1 << 20


@pytest.mark.long
@pytest.mark.parametrize("is_of_the_run", [True, False])
def test_run_that_takes_longer_than_its_limit_fails_with_one_dead_letter(town_crew: Crew, is_of_the_run: bool) -> None:
    crew, fleet = town_crew, town_crew.fleet
    # What a run brings counts, and else what the worker says.
    worker = crew.hire("only", PYOCO_RUN_TIMEOUT_SEC="600" if is_of_the_run else "1")
    limit = {"timeout_sec": 1} if is_of_the_run else {}
    run_id = crew.submit(flow("ignore_cancel >> quick"), params={"name": crew.tag}, **limit)
    pids = [int(pid) for pid in fleet.wait_for_file(f"{crew.tag}.deaf").split()]
    begun_at = time.monotonic()
    run = fleet.ended(run_id, "FAILED", timeout_sec=10)
    assert 2 < time.monotonic() - begun_at < 6
    assert run["error"] == "timeout: the run took longer than its 1 s."
    assert run["tasks"] == {"ignore_cancel": "FAILED", "quick": "PENDING"}
    assert run["task_records"]["ignore_cancel"]["error"] == run["error"]
    (letter,) = fleet.dead_letters(run_id)
    assert (letter["reason"], letter["error"], letter["worker_id"]) == ("timeout", run["error"], worker.worker_id)
    fleet.wait_until(lambda: not any(is_alive(pid) for pid in pids), f"the end of {pids}")
    assert fleet.ended(crew.submit(flow("quick"), timeout_sec=600))["worker_id"] == worker.worker_id


def test_run_that_ends_in_order_after_its_limit_has_failed_all_the_same(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("only")
    run_id = crew.submit(flow("wait_for_program >> quick"), params={"name": crew.tag}, timeout_sec=0.5)
    run = fleet.ended(run_id, "FAILED", timeout_sec=10)
    assert run["error"] == "timeout: the run took longer than its 0.5 s."
    assert run["tasks"]["wait_for_program"] == "SUCCEEDED" and run["tasks"]["quick"] != "SUCCEEDED"
    assert [letter["reason"] for letter in fleet.dead_letters(run_id)] == ["timeout"]


def test_run_may_be_without_the_limit_that_its_worker_has_for_others(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("only", PYOCO_RUN_TIMEOUT_SEC="0.2")
    run_id = crew.submit_held(timeout_sec=0)
    crew.wait_for_begin()
    limited = fleet.run(run_id)["start_time"] + 0.2
    fleet.wait_until(lambda: fleet.run(run_id)["heartbeat_at"] > limited + 0.2, "signs of life beyond the limit")
    crew.let_go()
    fleet.ended(run_id)


def test_task_that_wants_more_memory_than_its_worker_grants_fails_as_tasks_do(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("only", PYOCO_RUN_MEMORY_BYTES=str(1024 * MIB))
    run_id = crew.submit(flow("take_memory"), params={"name": crew.tag, "size": 2048 * MIB})
    run = fleet.ended(run_id, "FAILED")
    assert run["error"] == "MemoryError"
    assert "MemoryError" in run["task_records"]["take_memory"]["traceback"]
    assert [letter["reason"] for letter in fleet.dead_letters(run_id)] == ["execution_error"]
    fitting = crew.submit(flow("take_memory"), params={"name": crew.tag, "size": 64 * MIB})
    assert fleet.ended(fitting)["worker_id"] == worker.worker_id


def test_worker_says_so_at_its_start_when_no_runner_can_boot_in_the_memory_that_it_grants(town_crew: Crew) -> None:
    worker = town_crew.begin("narrow", PYOCO_RUN_MEMORY_BYTES=str(16 * MIB))
    assert worker.process.wait(20) == 1
    assert worker.log.count("ERR-PYOCO-0018 ") == 1
