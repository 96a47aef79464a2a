"""What is measured: figures, and the values that each side reached."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: Who does what is measured: this package, the published one, this one with NATS syncing each write, and the least
#: that can do it at all (nats-py alone, a bare Flask application on waitress).
OURS, PEER, SYNCED, RAW = "ours", "0.5.1", "ours, synced", "raw"
SIDES = (OURS, PEER, SYNCED, RAW)


@dataclass(frozen=True)
class Figure:
    """Something that has a value for each side.

    :param name: short, for files and targets.
    :param what: in words, for the table.
    """

    name: str
    what: str
    unit: str


@dataclass(frozen=True)
class Spread:
    """The middle and the ends of several values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


class Book:
    """The values of all figures, in the order in which they came.

    The n-th value of one side was measured beside the n-th of another, so a ratio of theirs holds on any machine.
    """

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}
        self._values: dict[tuple[str, str], list[float]] = {}

    def note(self, figure: Figure, side: str, value: float) -> None:
        """Note one value."""
        self.figures[figure.name] = figure
        self._values.setdefault((figure.name, side), []).append(value)

    def values(self, name: str, side: str) -> list[float]:
        """Give the values of one side, none where it was not measured."""
        return self._values.get((name, side), [])

    def spread(self, name: str, side: str) -> Spread | None:
        values = self.values(name, side)
        return Spread.of(values) if values else None

    def ratio(self, one: tuple[str, str], other: tuple[str, str]) -> Spread | None:
        """Compare two figures, each of a side, value by value; ``None`` where one of them was not measured."""
        pairs = list(zip(self.values(*one), self.values(*other), strict=False))
        return Spread.of([first / second for first, second in pairs]) if pairs else None
