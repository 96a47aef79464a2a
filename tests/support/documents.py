"""Reading what the documents say, so that tests can hold it against the code."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def section(text: str, heading: str) -> str:
    """Give what stands under a heading, up to the next one of its level or above.

    :param heading: the whole line, such as ``## NATS``.
    """
    level = len(heading) - len(heading.lstrip("#"))
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no heading {heading!r}"
    return found[1]


def table_rows(text: str) -> list[list[str]]:
    """Give the rows of all tables in a text, without their heads, with the marks of code taken off."""
    rows = []
    is_head = True
    for line in text.splitlines():
        if not line.startswith("|"):
            is_head = True
            continue
        if is_head or set(line) <= set("|- "):
            is_head = False
            continue
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        rows.append([cell.strip().removeprefix("`").removesuffix("`") for cell in cells])
    return rows
