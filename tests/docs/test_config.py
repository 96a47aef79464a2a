"""The list of settings in the documents is the list of settings in the code."""

from __future__ import annotations

from dataclasses import fields

from pyoco_server.config import Config, settings
from tests.support.documents import DOCS, tables
from tests.support.settings_table import document

CONFIG = DOCS / "config.md"


def test_documented_settings_are_those_of_the_code() -> None:
    told = "make docs/config.md anew: python -m tests.support.settings_table > docs/config.md"
    assert CONFIG.read_text() == document(), told


def test_each_field_is_named_as_its_variable_as_in_0_5_1() -> None:
    assert {name: record.env for name, record in settings().items()} == {
        name: f"PYOCO_{name.upper()}" for name in settings()
    }


def test_each_documented_default_is_a_value_that_means_what_holds_without_it() -> None:
    defaults = {item.name: item.default for item in fields(Config)}
    rows = [row for rows in tables(CONFIG.read_text()) for row in rows if "expected" in row]
    documented = {row["variable"]: row["default"].replace("(empty)", "") for row in rows}
    for name, record in settings().items():
        assert record.read(documented.pop(record.env), record.env) == defaults[name], record.env
    assert not documented
