"""What the files are called that hold outputs."""

from __future__ import annotations

import itertools

import pytest

from pyoco_server.contract.artifacts import name_fault, output_name

ODD = ["load a", "load_a", "load/a", "", ".", "..", "task.", "x" * 101, "x" * 100, "x" * 100 + "y", "\ud800", "\n", "_"]


def test_each_task_has_a_file_of_its_own() -> None:
    for one, other in itertools.combinations(ODD, 2):
        assert output_name(one, "txt") != output_name(other, "txt"), (one, other)


@pytest.mark.parametrize("task", ODD)
def test_an_output_can_be_kept_whatever_its_task_is_called(task: str) -> None:
    assert name_fault(output_name(task, "txt")) is None


@pytest.mark.parametrize("task", ["load_a", "v1.2-x", "読む", "x" * 100])
def test_the_name_of_a_task_that_can_be_a_folder_is_one(task: str) -> None:
    assert output_name(task, "json") == f"{task}/output.json"
