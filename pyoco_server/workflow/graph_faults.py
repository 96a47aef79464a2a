"""What is wrong in a graph's text, and where in that text; the file's lines are known one level up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GraphFault:
    """Something wrong in a graph text; ``line`` and ``column`` are from 1 and count in that text."""

    line: int
    column: int
    msg: str


@dataclass(frozen=True)
class PlacedFault:
    """A fault of the graph's text, or of the pipe that ``pipe`` names."""

    fault: GraphFault
    pipe: str | None = None


def place_of(text: str, position: int) -> tuple[int, int]:
    """Give line and column from 1 of a position in ``text``."""
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1
