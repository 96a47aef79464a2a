"""Reading what the documents say, so that tests can hold it against the code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

_CODE = re.compile(r"^```(\w*)\n(.*?)^```\n?", re.MULTILINE | re.DOTALL)
#: Rows of a table, each with the cells by the heads of their columns.
Table = list[dict[str, str]]


def section(text: str, heading: str) -> str:
    """Give what stands under a heading, up to the next one of its level or above.

    :param heading: the whole line, such as ``## NATS``.
    """
    level = len(heading) - len(heading.lstrip("#"))
    found: list[str] | None = None
    is_code = False
    for line in text.splitlines(keepends=True):
        is_code ^= line.startswith("```")
        # A comment in code looks like a heading.
        if found is not None and not is_code and re.match(rf"#{{1,{level}}} ", line):
            break
        if found is not None:
            found.append(line)
        elif line.rstrip("\n") == heading and not is_code:
            found = []
    assert found is not None, f"there is no heading {heading!r}"
    return "".join(found)


@dataclass(frozen=True)
class Block:
    """A piece of code in a document; ``language`` is what stands beside the fence."""

    language: str
    text: str

    @property
    def without_comments(self) -> Block:
        """The same without comments, which are in the language of the document."""
        lines = (re.sub(r"\s*(^|\s)# .*$", "", line) for line in self.text.splitlines())
        return Block(self.language, "\n".join(lines))


def code_blocks(text: str) -> list[Block]:
    """Give the code blocks of a document, in order."""
    return [Block(language, code) for language, code in _CODE.findall(text)]


def blocks(text: str, language: str) -> list[str]:
    """Give the code blocks of one language, in order."""
    return [block.text for block in code_blocks(text) if block.language == language]


def without_code(text: str) -> str:
    """Give a document without its code blocks, in which nothing is a heading, a link or a sentence."""
    return _CODE.sub("", text)


def tables(text: str, *, with_marks: bool = False) -> list[Table]:
    """Give the tables of a text; a cell that is code is given without its marks, unless they are asked for."""
    found: list[Table] = []
    for block in re.findall(r"(?:^\|.*\n)+", f"{text}\n", re.MULTILINE):
        head, _, *rows = [_cells(line, with_marks) for line in block.splitlines()]
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def table(text: str, first: str) -> Table:
    """Give the table whose first column has this head; none is an empty one."""
    return next((rows for rows in tables(text) if rows and next(iter(rows[0])) == first), [])


def words(cell: str) -> list[str]:
    """Give the words of a cell, whether or not each is code."""
    return re.findall(r"[^\s`]+", cell)


def _cells(line: str, with_marks: bool) -> list[str]:
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
    return cells if with_marks else [cell[1:-1] if re.fullmatch(r"`[^`]*`", cell) else cell for cell in cells]
