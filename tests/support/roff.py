"""Writing roff, which man pages are set from, and turning a document of ours into it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from tests.support.documents import tables

#: Characters that roff reads as another one, or as a command.
_ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
#: What stands in a line of a document beside plain text: code, strong words, links.
_INLINE = re.compile(r"(?P<code>`[^`]+`)|\*\*(?P<strong>.+?)\*\*|\[(?P<link>(?:`[^`]*`|[^\]`])+)\]\([^)]*\)")
#: The kinds of blocks, each known by how it begins; a paragraph is any other.
_BLOCK = re.compile(
    r"^```\w*\n(?P<code>(?s:.*?))^```$|^(?P<heading>#+ .*)$|(?P<table>(?:^\|.*\n)+)"
    r"|(?P<list>(?:^(?:- |\d+\. |  ).*\n)+)|(?P<prose>(?:^(?!```|#|\||- |\d+\. ).+\n)+)",
    re.MULTILINE,
)
#: What parts a block from the one before; a heading needs nothing behind it.
_SPACES = {"prose": ".PP", "code": ".sp"}
_ITEM = re.compile(r"^(?P<mark>-|\d+\.) (?P<text>.*\n(?:  .*\n)*)", re.MULTILINE)


def plain(text: str) -> str:
    """Escape what roff would read as something else."""
    escaped = "".join(_ESCAPES.get(char, char) for char in text)
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in escaped)


def guarded(line: str) -> str:
    """Keep a line that begins with a dot from being a request."""
    return f"\\&{line}" if line.startswith(".") else line


def wrapped(styled: str) -> Iterator[str]:
    """Give the lines of a text that is roff already."""
    lines = textwrap.wrap(styled, 76, break_on_hyphens=False, break_long_words=False)
    return (guarded(line) for line in lines)


def example(lines: list[str]) -> Iterator[str]:
    """Give lines that are shown as they stand."""
    yield from (".RS 4", ".EX", *(guarded(plain(line)) for line in lines), ".EE", ".RE")


def of_document(text: str) -> Iterator[str]:
    """Give the body of a page: a document without its title, which is the page's name."""
    yield ".SH DESCRIPTION"
    before = "heading"
    for block in _BLOCK.finditer(text.partition("\n")[2]):
        kind = str(block.lastgroup)
        if kind in _SPACES and before != "heading":
            yield _SPACES[kind]
        yield from _WRITERS[kind](block[kind])
        before = kind


def _heading(line: str) -> Iterator[str]:
    marks, _, title = line.partition(" ")
    yield f".SH {plain(title.replace('`', '').upper())}" if marks == "##" else f".SS {plain(title.replace('`', ''))}"


def _paragraph(text: str) -> Iterator[str]:
    yield from wrapped(_styled(" ".join(text.split())))


def _list(text: str) -> Iterator[str]:
    for item in _ITEM.finditer(text):
        yield r".IP \(bu 2" if item["mark"] == "-" else f".IP {item['mark']} 4"
        yield from wrapped(_styled(" ".join(item["text"].split())))


def _table(text: str) -> Iterator[str]:
    """Give each row under its first cell: what it is, which stands last, and what else the columns say."""
    for row in tables(text, with_marks=True)[0]:
        (_, name), *between, (_, meaning) = ((head, cell.replace(r"\|", "|")) for head, cell in row.items())
        more = (f"{head.capitalize()}: {cell}" for head, cell in between if cell)
        yield from (".TP", f"\\fB{plain(name.replace('`', ''))}\\fR")
        yield from wrapped(_styled(". ".join(part for part in (meaning, *more) if part) or "\N{EM DASH}"))


def _styled(text: str) -> str:
    """Set code and strong words in bold; of a link its words stay."""
    parts = []
    at = 0
    for found in _INLINE.finditer(text):
        parts.append(plain(text[at : found.start()]))
        if found["code"]:
            parts.append(f"\\fB{plain(found['code'][1:-1])}\\fR")
        else:
            parts.append(f"\\fB{plain(found['strong'])}\\fR" if found["strong"] else _styled(found["link"]))
        at = found.end()
    return "".join([*parts, plain(text[at:])])


_WRITERS = {
    "code": lambda text: example(text.splitlines()),
    "heading": _heading,
    "table": _table,
    "list": _list,
    "prose": _paragraph,
}
