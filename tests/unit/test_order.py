"""The order of the tests, in which those that take longest begin."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import LONGEST


def test_the_files_that_begin_are_there() -> None:
    tests = Path(__file__).parents[1]
    assert [name for name in LONGEST if not (tests / name).is_file()] == []
