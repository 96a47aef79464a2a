"""The end of ``--help``: paragraphs, and sections, which are headings of man pages and of ``docs/commands.md``, too.

A section is a line such as ``examples:`` and lines with two blanks before them. Examples are command lines; in any
other section a line begins with a name, and what that is stands after two blanks and more.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

EXAMPLES = "examples"
#: Where settings stand, for the section ``files``.
ENV_FILE_HELP = "settings, one VARIABLE=value a line, in the working directory; the environment wins over it"


class HelpFormatter(argparse.HelpFormatter):
    """Fits the paragraphs and sections of an epilog to the terminal; examples stay as one types them."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        notes, sections = take_apart(text)
        blocks = [textwrap.fill(note, width, break_on_hyphens=False) for note in notes]
        blocks += ["\n".join(_shown(title, lines, width)) for title, lines in sections.items()]
        return "\n\n".join(blocks)


def listed(title: str, rows: Mapping[str, str]) -> str:
    """Give a section of names and what each of them is."""
    return "\n".join([f"{title}:", *(f"  {name}  {text}" for name, text in rows.items())]) + "\n"


def environment(*variables: str) -> str:
    """Give the section about settings, in the words that the settings have for themselves."""
    from pyoco_server.config import settings

    known = {setting.env: setting.help for setting in settings().values()}
    return listed("environment", {name: known[name] for name in variables})


def take_apart(epilog: str) -> tuple[list[str], dict[str, list[str]]]:
    """Give the paragraphs of an epilog, each as one line, and the lines of each section by its title."""
    notes: list[str] = []
    sections: dict[str, list[str]] = {}
    for block in re.split(r"\n\n+", epilog.strip("\n")):
        title, *lines = block.split("\n")
        if title.endswith(":") and lines and all(line.startswith("  ") for line in lines):
            sections[title[:-1]] = [line.removeprefix("  ") for line in lines]
        elif block:
            notes.append(" ".join(block.split()))
    return notes, sections


def rows(lines: Sequence[str]) -> dict[str, str]:
    """Give what each name of a section is."""
    return {name: text.strip() for name, _, text in (line.partition("  ") for line in lines)}


def _shown(title: str, lines: Sequence[str], width: int) -> Iterator[str]:
    yield f"{title}:"
    if title == EXAMPLES:
        yield from (f"  {line}" for line in lines)
        return
    named = rows(lines)
    places = max(map(len, named)) + 4
    for name, text in named.items():
        first, *others = textwrap.wrap(text, max(20, width - places), break_on_hyphens=False)
        yield f"  {name:{places - 2}}{first}"
        yield from (" " * places + line for line in others)
