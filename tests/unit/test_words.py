"""The words of the pages: the same keys in both languages, each used, and none missing."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pyoco_server.web
import pytest
from markupsafe import Markup

import pyoco_server.gateway.pages
from pyoco_server.config import Config
from pyoco_server.gateway.pages.i18n import LANGUAGES, Text, words

_CODE = [*Path(pyoco_server.gateway.pages.__file__).parent.glob("*.py")]
_TEMPLATES = [*(Path(pyoco_server.web.__file__).parent / "templates").glob("*.html")]


def _forms(text: Text) -> list[Markup]:
    return list(text.values()) if isinstance(text, dict) else [text]


def _values(text: Text) -> set[str]:
    return {name for form in _forms(text) for _, name, _, _ in string.Formatter().parse(form) if name is not None}


def test_both_languages_have_the_same_keys_and_take_the_same_values() -> None:
    english, japanese = (words(lang).texts for lang in LANGUAGES)
    assert english.keys() == japanese.keys()
    for key in english:
        assert _values(english[key]) == _values(japanese[key]) | ({"count"} & _values(english[key])), key


def test_every_text_is_a_text_and_plural_forms_are_complete() -> None:
    for lang in LANGUAGES:
        for key, text in words(lang).texts.items():
            assert not isinstance(text, dict) or text.keys() == {"one", "other"}, key
            assert all(isinstance(form, str) and form for form in _forms(text)), key


def test_every_key_that_a_page_uses_exists_and_every_key_is_used() -> None:
    parts = {key.partition(".")[0] for key in words("en").texts}
    quoted = re.compile(rf"""["']((?:{"|".join(parts)})\.[a-z0-9_]+)["']""")
    used = {key for file in (*_CODE, *_TEMPLATES) for key in quoted.findall(file.read_text("utf-8"))}
    # Names of templates and files look like keys, too.
    used = {key for key in used if not key.endswith((".html", ".css", ".svg"))}
    assert used == words("en").texts.keys()


def test_values_are_escaped() -> None:
    assert words("en")("runs.of_flow", flow="<b>") == "flow &lt;b&gt;"


@pytest.mark.parametrize(
    ("locale", "lang"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LC_ALL": "C.UTF-8", "LANG": "ja_JP.UTF-8"}, "en"),
        ({"LC_ALL": "", "LANGUAGE": "de:ja", "LANG": "en_US"}, "ja"),
        ({"LC_MESSAGES": "ja", "LANG": "en_US.UTF-8"}, "ja"),
        ({"LANG": "jam"}, "en"),
    ],
)
def test_the_locale_is_read_as_the_c_library_reads_it(locale: dict[str, str], lang: str) -> None:
    assert Config.from_env(locale).locale_lang == lang
