"""Results of tasks that JSON cannot carry, or that are too large."""

from __future__ import annotations

from typing import Any

import pytest

from tests.process.conftest import Workshop
from tests.support.fleet import flow


@pytest.fixture(scope="module")
def outputs(workshop: Workshop) -> dict[str, tuple[Any, bool]]:
    """What is stored of each value, and whether it is marked as cut."""
    kinds = [
        *"object set nan bytes itself surrogate".split(),
        "huge text",
        "many bytes",
        "huge number",
        "tuple keys",
        "nested",
    ]
    run_ids = {kind: workshop.fleet.submit(flow("odd_value"), params={"kind": kind}) for kind in kinds}
    runs = {kind: workshop.fleet.ended(run_id) for kind, run_id in run_ids.items()}
    return {
        kind: (run["task_records"]["odd_value"]["output"], run["task_records_truncated"]) for kind, run in runs.items()
    }


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("set", "{1}"),
        ("nan", "nan"),
        ("bytes", r"b'\x00\xff'"),
        ("itself", "[[...]]"),
        ("tuple keys", "{(1, 2): 3}"),
        ("surrogate", "\ud800"),
    ],
)
def test_result_that_json_cannot_carry_is_shown_as_text(
    outputs: dict[str, tuple[Any, bool]], kind: str, shown: str
) -> None:
    assert outputs[kind] == (shown, False)


def test_object_is_shown_by_its_repr(outputs: dict[str, tuple[Any, bool]]) -> None:
    shown, is_cut = outputs["object"]
    assert shown.startswith("<object object at 0x")
    assert not is_cut


def test_number_with_too_many_digits_is_shown_as_what_it_is(outputs: dict[str, tuple[Any, bool]]) -> None:
    assert outputs["huge number"] == ("<int whose repr() raised ValueError>", False)


def test_result_that_is_nested_too_deeply_for_a_reader_is_shown_as_text(outputs: dict[str, tuple[Any, bool]]) -> None:
    shown, is_cut = outputs["nested"]
    assert isinstance(shown, str)
    assert is_cut


@pytest.mark.parametrize("kind", ["huge text", "many bytes"])
def test_result_larger_than_a_snapshot_is_cut_and_marked(outputs: dict[str, tuple[Any, bool]], kind: str) -> None:
    shown, is_cut = outputs[kind]
    assert len(shown) < 6_000
    assert "(cut: " in shown
    assert is_cut
