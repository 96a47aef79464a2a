"""The man pages of section 1, made from the parsers: ``python -m tests.support.man_pages`` writes them to ``man/``."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyoco_server.cli.epilogs import EXAMPLES, rows
from tests.support.command_reference import Command, commands, examples

FOLDER = Path(__file__).parents[2] / "man"
#: Characters that roff reads as another one, or as a command.
_ESCAPES = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}


def pages() -> dict[str, str]:
    """Give the text of each page by its file name."""
    found = commands()
    return {f"{command.words}.1": _page(command, [each.words for each in found]) for command in found}


def _page(command: Command, siblings: Sequence[str]) -> str:
    name = command.words
    lines = [
        # Without a date, so that the same parsers always make the same page.
        f'.TH {_plain(name.upper())} 1 "" "pyoco\\-server" "User Commands"',
        r".\" Made from the parser of the command: python -m tests.support.man_pages",
        *(".ad l", ".nh"),
        *(".SH NAME", f"{_plain(name)} \\- {_plain(_small(command.description))}"),
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
    lines += [".SH SEE ALSO", *_see_also([other for other in siblings if other != name])]
    return "\n".join(lines) + "\n"


def _subcommand(command: Command) -> Iterator[str]:
    yield from (f".SS {_plain(command.words)}", *_synopsis(command))
    yield from (".PP", *_prose(command.description), *_notes(command))
    yield from _arguments(command)
    for title, lines in command.sections.items():
        yield from (".PP", f"{title.capitalize()}:", *_section(title, lines))


def _synopsis(command: Command) -> Iterator[str]:
    yield f"\\fB{_plain(command.words)}\\fR"
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
        yield from (".RS 4", ".EX", *(_guarded(_plain(line)) for line in examples(lines)), ".EE", ".RE")
        return
    for name, text in rows(lines).items():
        yield from (".TP", f"\\fB{_plain(name)}\\fR", *_prose(text))


def _see_also(names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(names, start=1):
        yield f".BR {_plain(name)} (1)" + ("," if number < len(names) else "")


def _styled(text: str) -> str:
    """Set flags in bold and what stands for their values in italics."""
    parts = re.split(r"(?<![\w-])(--?[a-z][a-z-]*)", text)
    return "".join(f"\\fB{_plain(part)}\\fR" if number % 2 else _values(part) for number, part in enumerate(parts))


def _values(text: str) -> str:
    parts = re.split(r"\b([A-Z][A-Z_]*)\b", text)
    return "".join(f"\\fI{part}\\fR" if number % 2 else _plain(part) for number, part in enumerate(parts))


def _prose(text: str) -> Iterator[str]:
    """Give the lines of a text, with flags in bold."""
    for line in textwrap.wrap(text, 76, break_on_hyphens=False):
        parts = re.split(r"(?<![\w-])(--[a-z][a-z-]*)", line)
        styled = (f"\\fB{_plain(part)}\\fR" if number % 2 else _plain(part) for number, part in enumerate(parts))
        yield _guarded("".join(styled))


def _plain(text: str) -> str:
    """Escape what roff would read as something else."""
    escaped = "".join(_ESCAPES.get(char, char) for char in text)
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in escaped)


def _guarded(line: str) -> str:
    """Keep a line that begins with a dot from being a request."""
    return f"\\&{line}" if line.startswith(".") else line


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
