"""The list of settings in the documents is the list of settings in the code."""

from __future__ import annotations

from dataclasses import fields

from pyoco_server.config import Config, settings
from tests.support.documents import DOCS, table_rows
from tests.support.settings_table import document

CONFIG = DOCS / "config.md"


def test_documented_settings_are_those_of_the_code() -> None:
    told = "make docs/config.md anew: python -m tests.support.settings_table > docs/config.md"
    assert CONFIG.read_text() == document(), told


def test_each_documented_default_is_a_value_that_means_what_holds_without_it() -> None:
    defaults = {item.name: item.default for item in fields(Config)}
    documented = {row[0]: row[1] for row in table_rows(CONFIG.read_text()) if len(row) == 4}
    for name, record in settings().items():
        text = documented.pop(record.env)
        assert record.read("" if text == "(empty)" else text, record.env) == defaults[name], record.env
    assert not documented
    assert Config.from_env({}) == Config(locale_lang=Config.from_env({}).locale_lang)
