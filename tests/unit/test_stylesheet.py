"""The stylesheet: no rule for what no page has."""

from __future__ import annotations

import re
from pathlib import Path

import pyoco_server.web

_WEB = Path(pyoco_server.web.__file__).parent


def _selectors() -> list[str]:
    text = re.sub(r"/\*.*?\*/", "", (_WEB / "static" / "style.css").read_text(), flags=re.S)
    found = re.findall(r"(?<=[{};\n])([^{};]*)\{", "\n" + text)
    return [selector.strip() for group in found if "@" not in group for selector in group.split(",")]


def test_every_class_and_id_of_the_stylesheet_stands_in_a_template() -> None:
    named = {name for selector in _selectors() for name in re.findall(r"[.#]([a-z][\w-]*)", selector)}
    # States and sizes are put together from what the code names.
    named -= {name for name in named if name.startswith(("is-", "state--"))}
    templates = "".join(file.read_text() for file in (_WEB / "templates").glob("*.html"))
    assert len(named) > 50
    assert not [name for name in sorted(named) if not re.search(rf"(?<![\w-]){name}(?![\w-])", templates)]


def test_every_element_of_the_stylesheet_stands_in_a_template_or_a_text() -> None:
    plain = [re.sub(r"\[[^]]*\]|:(lang|nth-[a-z-]+)\([^)]*\)|::?[a-z-]+", "", selector) for selector in _selectors()]
    named = {name for selector in plain for name in re.findall(r"(?<![\w.#-])([a-z]\w*)", selector)}
    files = [*(_WEB / "templates").glob("*.html"), *(_WEB / "locales").glob("*/*.yaml")]
    written = {name for file in files for name in re.findall(r"<([a-z]\w*)", file.read_text("utf-8"))}
    assert len(named) > 20
    assert named <= written
