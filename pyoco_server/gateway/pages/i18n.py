"""The words of the pages, by key, in each language.

``web/locales/<language>/<part>.yaml`` holds the keys ``<part>.<name>``; a text is HTML, and what is put into it is
escaped. A text that depends on a number has a form for one and a form for others.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import yaml
from markupsafe import Markup

LANGUAGES = ("en", "ja")

Text = Markup | dict[str, Markup]


class Words:
    """The texts of one language."""

    def __init__(self, lang: str, texts: Mapping[str, Text]) -> None:
        self.lang = lang
        self.texts = texts

    def __call__(self, key: str, **values: Any) -> Markup:
        """Give a text with these values in it; ``count`` also chooses its form.

        :raises KeyError: there is no such text, or it names a value that was not given.
        """
        text = self.texts[key]
        if isinstance(text, dict):
            text = text["one" if values["count"] == 1 else "other"]
        return text.format(**values) if values else text


@cache
def words(lang: str) -> Words:
    """Read a language's texts, once."""
    folder = importlib.resources.files("pyoco_server.web") / "locales" / lang
    texts: dict[str, Text] = {}
    for file in folder.iterdir():
        part = file.name.removesuffix(".yaml")
        for name, text in yaml.safe_load(file.read_text("utf-8")).items():
            texts[f"{part}.{name}"] = (
                {form: Markup(form_text) for form, form_text in text.items()}
                if isinstance(text, dict)
                else Markup(text)
            )
    return Words(lang, texts)


def choose_language(setting: str, accepted: Iterable[tuple[str, float]], locale_lang: str) -> str:
    """Choose a page's language.

    :param setting: ``--dashboard-lang``.
    :param accepted: ``Accept-Language``, best first, with qualities.

    Source: contract, section 5.
    """
    if setting != "auto":
        return setting
    for name, quality in accepted:
        lang = name.partition("-")[0].lower()
        if quality > 0 and lang in LANGUAGES:
            return lang
    return locale_lang
