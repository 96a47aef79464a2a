"""The stylesheet: no rule for what no page has."""

from __future__ import annotations

import re
from pathlib import Path

import pyoco_server.web

_WEB = Path(pyoco_server.web.__file__).parent


def test_every_class_and_id_of_the_stylesheet_stands_in_a_template() -> None:
    text = re.sub(r"/\*.*?\*/", "", (_WEB / "static" / "style.css").read_text(), flags=re.S)
    selectors = re.findall(r"(?<=[{};\n])([^{};]*)\{", "\n" + text)
    named = {name for selector in selectors for name in re.findall(r"[.#]([a-z][\w-]*)", selector)}
    # States and sizes are put together from what the code names.
    named -= {name for name in named if name.startswith(("is-", "state--"))}
    templates = "".join(file.read_text() for file in (_WEB / "templates").glob("*.html"))
    assert len(named) > 50
    assert not [name for name in sorted(named) if not re.search(rf"(?<![\w-]){name}(?![\w-])", templates)]
