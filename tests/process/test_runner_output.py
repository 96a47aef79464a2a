"""What runs print stands in the worker's log, and nothing that they print breaks anything."""

from __future__ import annotations

from tests.process.conftest import Workshop
from tests.support.fleet import flow, printed


def test_everything_that_a_task_prints_stands_in_the_log_with_its_run(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_everything"))
    workshop.fleet.ended(run_id)
    found = printed(workshop.worker, run_id)
    task = "print_everything"
    # Through Python's streams: the task is known.
    assert (task, "from print") in found
    assert (task, "to stderr") in found
    assert (task, "from logging") in found
    assert (task, "from buffer: grün") in found
    assert (task, "surrogate \ud800 alone") in found
    assert (task, "no newline at the end") in found
    # Past them: the run is known.
    assert (None, "from os.write") in found
    assert (None, "from a program") in found
    assert (None, "broken \ufffd\ufffd utf-8") in found
    assert (None, "raw without newline") in found
    assert len(found) == 10


def test_thread_of_a_task_prints_for_its_task(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_in_thread"))
    workshop.fleet.ended(run_id)
    assert printed(workshop.worker, run_id) == [("print_in_thread", "from a thread")]


def test_parallel_tasks_are_told_apart(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("quick >> print_side_a\nquick >> print_side_b"))
    workshop.fleet.ended(run_id)
    found = printed(workshop.worker, run_id)
    assert [text for task, text in found if task == "print_side_a"] == [f"a{number}" for number in range(50)]
    assert [text for task, text in found if task == "print_side_b"] == [f"b{number}" for number in range(50)]


def test_megabytes_on_one_line_do_not_hold_the_run_up(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_much"))
    assert workshop.fleet.ended(run_id)["task_records"]["print_much"]["output"] == "printed"
    found = printed(workshop.worker, run_id)
    assert sum(text.count("m") for task, text in found if task == "print_much") == 5_000_000
    assert sum(text.count("w") for task, text in found if task is None) == 100_000


def test_fork_of_the_runner_can_print_and_does_not_disturb_it(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_from_fork"))
    assert workshop.fleet.ended(run_id)["task_records"]["print_from_fork"]["output"] == "printed"
    assert (None, "from a fork") in printed(workshop.worker, run_id)
