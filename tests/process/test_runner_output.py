"""What runs print is kept with the tasks that printed it, and nothing that they print breaks anything."""

from __future__ import annotations

from typing import Any

from tests.process.conftest import Workshop
from tests.support.fleet import flow, printed
from tests.support.waiting import eventually


def _lines(entries: list[dict[str, Any]]) -> list[tuple[str | None, str, str]]:
    return [(entry["task"], entry["stream"], entry["text"]) for entry in entries]


def _texts(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["text"] for entry in entries]


def test_everything_that_a_task_prints_is_kept_with_it_in_its_order(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_everything"))
    workshop.fleet.ended(run_id)
    task = "print_everything"
    entries = workshop.fleet.log(run_id)
    # Only what a program writes to its stderr goes another way.
    assert [line for line in _lines(entries) if "broken" not in line[2]] == [
        (task, "stdout", "from print\n"),
        (task, "stderr", "to stderr\n"),
        (task, "stderr", "WARNING mine: from logging\n"),
        (task, "stdout", "from os.write\n"),
        (task, "stdout", "from a program\n"),
        (task, "stdout", "from buffer: grün\n"),
        (task, "stdout", "surrogate \\ud800 alone\n"),
        (task, "stdout", "no newline at the endraw without newline"),
    ]
    assert (task, "stderr", "broken \\xff\\xfe utf-8\n") in _lines(entries)
    assert [entry["seq"] for entry in entries] == list(range(9))
    run = workshop.fleet.run(run_id)
    assert all(run["start_time"] <= entry["timestamp"] <= run["end_time"] for entry in entries)


def test_the_same_stands_in_the_log_of_the_worker(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("quick >> print_in_thread"))
    workshop.fleet.ended(run_id)
    assert printed(workshop.worker, run_id) == [("print_in_thread", "from a thread")]


def test_what_c_code_prints_does_not_wait_in_its_buffer(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_by_c"))
    workshop.fleet.ended(run_id)
    assert _texts(workshop.fleet.log(run_id)) == ["from C\n", "after C\n"]


def test_what_a_task_logs_is_kept_from_the_level_that_is_set(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("log_at_levels"))
    workshop.fleet.ended(run_id)
    assert _texts(workshop.fleet.log(run_id)) == ["INFO mine: info\n", "ERROR mine: error\n"]


def test_parallel_tasks_are_told_apart(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("quick >> print_side_a\nquick >> print_side_b"))
    workshop.fleet.ended(run_id)
    entries = workshop.fleet.log(run_id)
    for task, letter in (("print_side_a", "a"), ("print_side_b", "b")):
        of_task = [entry for entry in entries if entry["task"] == task]
        assert _texts(of_task) == [f"{letter}{number}\n" for number in range(50)]


def test_a_task_that_follows_another_one_is_told_apart_from_it(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_side_a >> print_by_c"))
    workshop.fleet.ended(run_id)
    lines = _lines(workshop.fleet.log(run_id))
    assert lines[-3:] == [
        ("print_side_a", "stdout", "a49\n"),
        ("print_by_c", "stdout", "from C\n"),
        ("print_by_c", "stdout", "after C\n"),
    ]


def test_runs_of_one_runner_are_told_apart(workshop: Workshop) -> None:
    """Which tasks have one name: nobody says then that another one prints."""
    runs = [workshop.fleet.submit(flow("print_by_c")) for _ in range(3)]
    for run_id in runs:
        workshop.fleet.ended(run_id)
        assert _lines(workshop.fleet.log(run_id)) == [
            ("print_by_c", "stdout", "from C\n"),
            ("print_by_c", "stdout", "after C\n"),
        ]


def test_of_a_progress_bar_its_last_state_is_kept(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("show_progress"))
    workshop.fleet.ended(run_id)
    assert _texts(workshop.fleet.log(run_id)) == ["100 %\n"]


def test_half_a_line_does_not_wait_for_its_other_half(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_half_a_line"), params={"name": "other-half"})
    eventually(lambda: _texts(workshop.fleet.log(run_id)) == ["half a"], what="half a line")
    workshop.fleet.touch("other-half")
    workshop.fleet.ended(run_id)
    assert _texts(workshop.fleet.log(run_id)) == ["half a", " line\n"]


def test_megabytes_on_one_line_do_not_hold_the_run_up(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_much"))
    assert workshop.fleet.ended(run_id)["task_records"]["print_much"]["output"] == "printed"
    text = "".join(_texts(workshop.fleet.log(run_id)))
    # Its beginning, what is left out, and the end.
    assert 900_000 < text.count("m") < 1_048_576
    assert "[the 1048576 bytes of a task (PYOCO_LOGS_TASK_MAX_BYTES) are full: " in text
    assert text.endswith("w\n")


def test_a_gigabyte_harms_nobody(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_a_gigabyte"))
    workshop.fleet.ended(run_id, timeout_sec=120)
    entries = workshop.fleet.log(run_id)
    # Each line counts its hundred bytes, and a hundred for what is kept with it.
    assert _texts(entries)[:5242] == ["g" * 99 + "\n"] * 5242
    assert "are full" in entries[5242]["text"]
    left_out = int(entries[5243]["text"].split()[0].lstrip("["))
    kept = sum(len(entry["text"]) for entry in entries) - len(entries[5242]["text"]) - len(entries[5243]["text"])
    assert left_out + kept == 1_000_000_008
    assert entries[-1]["text"] == "the end\n"


def test_fork_of_the_runner_can_print_and_does_not_disturb_it(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_from_fork"))
    assert workshop.fleet.ended(run_id)["task_records"]["print_from_fork"]["output"] == "printed"
    assert _lines(workshop.fleet.log(run_id)) == [("print_from_fork", "stdout", "from a fork\n")]


def test_a_run_that_fails_shows_the_end_of_what_it_printed(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_and_fail"))
    run = workshop.fleet.ended(run_id, "FAILED")
    assert run["last_lines"] == "".join(f"line {number}\n" for number in range(980, 1000))


def test_a_run_that_does_not_fail_shows_none_of_it(workshop: Workshop) -> None:
    run_id = workshop.fleet.submit(flow("print_by_c"))
    assert "last_lines" not in workshop.fleet.ended(run_id)
