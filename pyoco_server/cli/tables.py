"""Tables on stdout: for eyes in a terminal, for ``awk`` in a pipe.

Source: contract, section 5 (``list``, ``list-vnext``).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from pyoco_server.text_width import shortened, width

RUN_COLUMNS = ("run_id", "status", "flow_name", "tag", "updated_at")

#: What stands for a value that is null or empty, so that every line has the same number of words.
_NOTHING = "-"
_GAP = "  "
#: A cell is not cut below this many places: less says nothing.
_NARROWEST = 8


def print_table(
    items: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    stream: IO[str],
    *,
    whole: Iterable[str] = ("run_id", "status"),
) -> None:
    """Print a heading and a line per item, or ``(no items)``.

    Cells are shortened only where ``stream`` is a terminal.

    :param whole: columns that are shortened when it does not do to shorten the others: one copies ids, and states are
        few words.
    """
    if not items:
        print("(no items)", file=stream)
        return
    rows = [list(columns)] + [[cell(item.get(name)) for name in columns] for item in items]
    widths = [max(width(row[index]) for row in rows) for index in range(len(columns))]
    if stream.isatty():
        places = shutil.get_terminal_size().columns
        kept = set(whole)
        widths = _narrowed(widths, [name not in kept for name in columns], places)
        widths = _narrowed(widths, [True] * len(columns), places)
    for row in rows:
        cells = [_padded(text, places) for text, places in zip(row, widths, strict=True)]
        print(_GAP.join(cells).rstrip(), file=stream)


def cell(value: Any) -> str:
    """Give a value as one cell: a dash for nothing, lists joined by commas, nothing that moves the cursor."""
    if value is None or value in ("", []):
        return _NOTHING
    if isinstance(value, list):
        return ",".join(printable(str(item)) for item in value)
    return printable(str(value))


def printable(text: str) -> str:
    """Escape what would move the cursor or change colours: names and errors come from anybody's flow."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _padded(text: str, places: int) -> str:
    text = shortened(text, places)
    return text + " " * (places - width(text))


def _narrowed(widths: list[int], may_shrink: Sequence[bool], places: int) -> list[int]:
    """Take from the widest column that may shrink until the line fits, or until each is at its least."""
    result = list(widths)
    while sum(result) + len(_GAP) * (len(result) - 1) > places:
        candidates = [index for index, shrinks in enumerate(may_shrink) if shrinks and result[index] > _NARROWEST]
        if not candidates:
            break
        result[max(candidates, key=result.__getitem__)] -= 1
    return result
