"""The list of settings in the documents is the list of settings in the code."""

from __future__ import annotations

from pathlib import Path

from tests.support.settings_table import table


def test_documented_settings_are_those_of_the_code() -> None:
    stored = (Path(__file__).parents[2] / "docs" / "config.md").read_text()
    assert stored == table(), "make docs/config.md anew: python -m tests.support.settings_table > docs/config.md"
