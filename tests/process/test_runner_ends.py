"""Runners that die, or that a task leaves in a state in which no other run may find them."""

from __future__ import annotations

import signal

import pytest

from tests.process.conftest import Workshop
from tests.support.crew import reasons
from tests.support.fleet import flow, is_alive, kill, runners_of


def runner_of_next_run(workshop: Workshop) -> int:
    """Execute a run, and give the process id of its runner."""
    run = workshop.fleet.ended(workshop.fleet.submit(flow("quick")))
    pid: int = run["task_records"]["quick"]["output"]
    return pid


@pytest.mark.parametrize(
    ("task", "how"),
    [
        ("exit_at_once", "ended with exit status 7."),
        ("kill_itself", "was killed by SIGKILL, which is also what the kernel does when memory runs out."),
        ("segfault", "was killed by SIGSEGV."),
        ("corrupt_events", "wrote into the pipe of its worker what is not a message."),
    ],
)
def test_dead_runner_fails_its_run_with_one_dead_letter_and_the_worker_takes_the_next(
    workshop: Workshop, task: str, how: str
) -> None:
    fleet = workshop.fleet
    run_id = fleet.submit(flow(f"quick >> {task} >> never", never="quick"))
    run = fleet.ended(run_id, "FAILED")
    assert run["error"] == f"worker_process_died: the process of the run {how}"
    assert run["tasks"] == {"quick": "SUCCEEDED", task: "FAILED", "never": "PENDING"}
    assert run["task_records"][task]["error"] == run["error"]
    (letter,) = fleet.dead_letters(run_id)
    assert (letter["reason"], letter["error"], letter["worker_id"]) == ("worker_process_died", run["error"], "w1")
    assert runner_of_next_run(workshop) != run["task_records"]["quick"]["output"]
    assert workshop.worker.process.poll() is None


def test_what_a_dead_runner_has_started_does_not_survive_it(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run_id = fleet.submit(flow("die_with_grandchildren"))
    pids = [int(pid) for pid in fleet.wait_for_file("grandchildren").split()]
    # Although the fork still holds the pipes of the runner open.
    fleet.ended(run_id, "FAILED", timeout_sec=5)
    assert reasons(fleet.dead_letters(run_id)) == ["worker_process_died"]
    fleet.wait_until(lambda: not any(is_alive(pid) for pid in pids), f"the end of {pids}")


def test_runner_with_a_thread_left_over_is_not_used_again(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run = fleet.ended(fleet.submit(flow("leave_thread")))
    left = run["task_records"]["leave_thread"]["output"]
    assert runner_of_next_run(workshop) != left
    fleet.wait_until(lambda: not is_alive(left), "the end of the runner")


def test_runner_with_a_process_left_over_is_not_used_again_and_both_are_ended(workshop: Workshop) -> None:
    fleet = workshop.fleet
    run = fleet.ended(fleet.submit(flow("leave_process")))
    left = run["task_records"]["leave_process"]["output"]
    assert runner_of_next_run(workshop) not in left
    fleet.wait_until(lambda: not any(is_alive(pid) for pid in left), f"the end of {left}")


def test_runner_that_died_right_after_its_run_is_not_given_another(workshop: Workshop) -> None:
    fleet, worker = workshop.fleet, workshop.worker
    run_id = fleet.submit(flow("end_soon"), params={"name": "soon"})
    fleet.running(run_id, "end_soon")
    (runner,) = [int(pid) for pid in fleet.wait_for_file("soon.begun").split()]
    # So that the worker hears of the end of the run and of its runner at the same time.
    kill(worker.process.pid, signal.SIGSTOP)
    try:
        fleet.touch("soon")
        fleet.wait_until(lambda: not is_alive(runner), "the end of the runner")
    finally:
        kill(worker.process.pid, signal.SIGCONT)
    fleet.ended(run_id)
    assert runner_of_next_run(workshop) != runner


def test_runner_that_dies_while_it_is_idle_costs_no_run(workshop: Workshop) -> None:
    idle = runner_of_next_run(workshop)
    workshop.fleet.wait_until(lambda: idle in runners_of(workshop.worker), "the idle runner")
    kill(idle, signal.SIGKILL)
    # On a busy machine a process lives on for a while after the signal, and might be given the run.
    workshop.fleet.wait_until(lambda: not is_alive(idle), "the end of the idle runner")
    assert runner_of_next_run(workshop) != idle


def test_request_to_end_that_is_sent_to_all_processes_of_a_worker_leaves_the_run_to_the_worker(
    workshop: Workshop,
) -> None:
    # As a service manager stops a service: the worker lets the run go on, so the runner must not end by itself.
    fleet = workshop.fleet
    run_id = fleet.submit(flow("hold"), params={"name": "asked"})
    (runner,) = [int(pid) for pid in fleet.wait_for_file("asked.begun").split()]
    kill(runner, signal.SIGTERM)
    fleet.wait_for_life(run_id)
    fleet.touch("asked")
    fleet.ended(run_id)
    assert runner_of_next_run(workshop) == runner


def test_processes_of_a_task_end_by_signals_as_they_do_elsewhere(workshop: Workshop) -> None:
    fleet = workshop.fleet
    records = fleet.ended(fleet.submit(flow("terminate_fork >> terminate_fork_of_fork")))["task_records"]
    # A fork, a program, and a program that was interrupted; each at once, before it could do anything.
    assert records["terminate_fork"]["output"] == [-signal.SIGTERM, -signal.SIGTERM, -signal.SIGINT]
    assert records["terminate_fork_of_fork"]["output"] == -signal.SIGTERM
