"""What the figures are to reach: the table of issue 9, in the order of what a user feels."""

from __future__ import annotations

from dataclasses import dataclass

from bench.figures import OURS, PEER, RAW, Book, Spread


@dataclass(frozen=True)
class Target:
    """A bound on a figure of one side: on its ratio to that of another side, or on the figure itself.

    :param against: the other side; ``None`` bounds the value, in the figure's unit.
    """

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    against: str | None = None
    side: str = OURS

    def reached(self, book: Book) -> Spread | None:
        """Give the ratio or value that is bounded; ``None`` where it was not measured."""
        if self.against is None:
            return book.spread(self.figure, self.side)
        return book.ratio(self.figure, self.side, self.against)

    def is_met(self, reached: Spread) -> bool:
        """Say whether the median keeps the bounds."""
        low, high = self.at_least, self.at_most
        return (low is None or reached.median >= low) and (high is None or reached.median <= high)

    @property
    def bound(self) -> str:
        """Give the bound in words."""
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {bound:g}" + (f" of {self.against}" if self.against else "")


TARGETS = (
    Target("submit-1", at_most=1.0, against=PEER),
    Target("submit-32", at_least=1.0, against=PEER),
    Target("submit-32", at_least=0.65, against=RAW),
)
