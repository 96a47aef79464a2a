"""The results, as a table and as JSON."""

from __future__ import annotations

import datetime
import os
import platform
from typing import Any

from rich.console import Console
from rich.table import Table

import pyoco_server
from bench.figures import SIDES, Book, Spread
from bench.targets import TARGETS, Target

_WIDTH = 150


def print_table(book: Book) -> None:
    """Print the figures of all sides, and below them which target is met."""
    # As wide for a file as for a terminal, so that no line is folded there.
    console = Console(width=None if Console().is_terminal else _WIDTH, highlight=False)
    measured = [side for side in SIDES if any(book.values(name, side) for name in book.figures)]
    figures = Table(
        "what", "unit", *measured, box=None, title="Figures: median (lowest to highest)", title_justify="left"
    )
    for figure in book.figures.values():
        spreads = [book.spread(figure.name, side) for side in measured]
        figures.add_row(figure.what, figure.unit, *(_text(spread) if spread else "" for spread in spreads))
    console.print(figures)
    targets = Table("what", "bound", "reached", "met", box=None, title="\nTargets", title_justify="left")
    for target, reached in _judged(book):
        verdict = "yes" if target.is_met(reached) else "NO"
        targets.add_row(book.figures[target.figure].what, target.bound, _text(reached), verdict)
    console.print(targets)


def document(book: Book) -> dict[str, Any]:
    """Give everything as JSON: the machine, all values, and the targets with what was reached."""
    return {
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "pyoco_server": pyoco_server.__version__,
        },
        "figures": [
            {
                **vars(figure),
                "values": {side: book.values(figure.name, side) for side in SIDES if book.values(figure.name, side)},
            }
            for figure in book.figures.values()
        ],
        "targets": [
            {**vars(target), "reached": vars(reached), "is_met": target.is_met(reached)}
            for target, reached in _judged(book)
        ],
    }


def _judged(book: Book) -> list[tuple[Target, Spread]]:
    """Give the targets whose figures were measured, each with what was reached."""
    found = [(target, target.reached(book)) for target in TARGETS]
    return [(target, reached) for target, reached in found if reached is not None]


def _text(spread: Spread) -> str:
    if spread.low == spread.high:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.low)} to {_number(spread.high)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
