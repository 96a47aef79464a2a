"""The man pages: ``python -m tests.support.man_pages`` writes them to ``man/``.

Those of section 1 are made from the parsers, those of sections 5 and 7 from documents.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from pyoco_server.cli.epilogs import EXAMPLES, rows
from tests.support.command_reference import Command, commands, examples
from tests.support.documents import DOCS
from tests.support.roff import example, guarded, of_document, plain

FOLDER = Path(__file__).parents[2] / "man"
#: Name and section.
Page: TypeAlias = tuple[str, int]
#: Pages of other sections: the document, what it is about, and the name of the section.
_DOCUMENTS = {
    ("pyoco-server", 5): ("config.md", "settings of gateways, workers and commands", "File Formats Manual"),
    ("pyoco-flow", 7): ("flow_yaml.md", "format of the flow.yaml of a workflow", "Miscellaneous Information"),
}


def pages() -> dict[str, str]:
    """Give the text of each page by its file name."""
    found = commands()
    names = [*((command.words, 1) for command in found), *_DOCUMENTS]
    made = {f"{command.words}.1": _page(command, names) for command in found}
    return {**made, **{f"{name}.{section}": _page_of_document((name, section), names) for name, section in _DOCUMENTS}}


def _page(command: Command, pages: Sequence[Page]) -> str:
    name = command.words
    lines = [
        *_head((name, 1), "Made from the parser of the command", "User Commands", _small(command.description)),
        *(".SH SYNOPSIS", *_synopsis(command)),
        *(".SH DESCRIPTION", *_prose(command.description), *_notes(command)),
        *(".SH OPTIONS", *_arguments(command)),
    ]
    if command.subcommands:
        lines.append(".SH COMMANDS")
        for below in command.everything[1:]:
            lines += _subcommand(below)
    for title, section in command.sections.items():
        lines += [f".SH {title.upper()}", *_section(title, section)]
    lines += _see_also((name, 1), pages)
    return "\n".join(lines) + "\n"


def _page_of_document(page: Page, pages: Sequence[Page]) -> str:
    document, about, manual = _DOCUMENTS[page]
    lines = [
        *_head(page, f"Made from docs/{document}", manual, about),
        *of_document((DOCS / document).read_text()),
        *_see_also(page, pages),
    ]
    return "\n".join(lines) + "\n"


def _head(page: Page, origin: str, manual: str, about: str) -> Iterator[str]:
    name, section = page
    # Without a date, so that the same parsers always make the same page.
    yield f'.TH {plain(name.upper())} {section} "" "pyoco\\-server" "{manual}"'
    yield f'.\\" {origin}: python -m tests.support.man_pages'
    yield from (".ad l", ".nh", ".SH NAME", f"{plain(name)} \\- {plain(about)}")


def _subcommand(command: Command) -> Iterator[str]:
    yield from (f".SS {plain(command.words)}", *_synopsis(command))
    yield from (".PP", *_prose(command.description), *_notes(command))
    yield from _arguments(command)
    for title, lines in command.sections.items():
        yield from (".PP", f"{title.capitalize()}:", *_section(title, lines))


def _synopsis(command: Command) -> Iterator[str]:
    yield f"\\fB{plain(command.words)}\\fR"
    for arguments in command.arguments.values():
        yield from (_styled(argument.usage) for argument in arguments if argument.usage)
    if command.subcommands:
        yield r"\fICOMMAND\fR ..."


def _notes(command: Command) -> Iterator[str]:
    for text in command.notes:
        yield from (".PP", *_prose(text))


def _arguments(command: Command) -> Iterator[str]:
    for title, arguments in command.arguments.items():
        if title not in ("options", "positional arguments"):
            yield from (".PP", *_prose(f"{title[0].upper()}{title[1:]}:"))
        for argument in arguments:
            yield from (".TP", _styled(f"{argument.names} {argument.value}".strip()), *_prose(argument.help))


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if title == EXAMPLES:
        yield from example(examples(lines))
        return
    for name, text in rows(lines).items():
        yield from (".TP", f"\\fB{plain(name)}\\fR", *_prose(text))


def _see_also(page: Page, pages: Sequence[Page]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    others = [other for other in pages if other != page]
    for name, section in others:
        yield f".BR {plain(name)} ({section})" + ("," if (name, section) != others[-1] else "")


def _styled(text: str) -> str:
    """Set flags in bold and what stands for their values in italics."""
    parts = re.split(r"(?<![\w-])(--?[a-z][a-z-]*)", text)
    return "".join(f"\\fB{plain(part)}\\fR" if number % 2 else _values(part) for number, part in enumerate(parts))


def _values(text: str) -> str:
    parts = re.split(r"\b([A-Z][A-Z_]*)\b", text)
    return "".join(f"\\fI{part}\\fR" if number % 2 else plain(part) for number, part in enumerate(parts))


def _prose(text: str) -> Iterator[str]:
    """Give the lines of a text, with flags in bold."""
    for line in textwrap.wrap(text, 76, break_on_hyphens=False):
        parts = re.split(r"(?<![\w-])(--[a-z][a-z-]*)", line)
        styled = (f"\\fB{plain(part)}\\fR" if number % 2 else plain(part) for number, part in enumerate(parts))
        yield guarded("".join(styled))


def _small(sentence: str) -> str:
    """Make a sentence the second half of a NAME line."""
    return (sentence[0].lower() + sentence[1:]).removesuffix(".")


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
    print(f"{len(pages())} pages in {FOLDER}", file=sys.stderr)


if __name__ == "__main__":
    main()
