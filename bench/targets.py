"""What the figures are to reach: the table of issue 9, in the order of what a user feels."""

from __future__ import annotations

from dataclasses import dataclass

from bench.figures import OURS, PEER, RAW, Book, Spread

#: Of one run at the same time; fewer than a gateway serves (``PYOCO_MAX_WATCHES``).
WATCHER_COUNT = 400


@dataclass(frozen=True)
class Target:
    """A bound on a figure of ours: on its ratio to that of another side, or on the figure itself.

    :param against: the other side; ``None`` bounds the value, in the figure's unit.
    :param of: the other side's figure, where it is another one.
    """

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    against: str | None = None
    of: str | None = None

    def reached(self, book: Book) -> Spread | None:
        """Give the ratio or value that is bounded; ``None`` where it was not measured."""
        if self.against is None:
            return book.spread(self.figure, OURS)
        return book.ratio((self.figure, OURS), (self.of or self.figure, self.against))

    def is_met(self, reached: Spread) -> bool:
        """Say whether the median keeps the bounds."""
        low, high = self.at_least, self.at_most
        return (low is None or reached.median >= low) and (high is None or reached.median <= high)

    @property
    def bound(self) -> str:
        """Give the bound in words."""
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        other = f" of {self.against}" if self.against else ""
        return f"{sign} {bound:.3g}{other}" + (f", {self.of}" if self.of else "")


TARGETS = (
    Target("latency-1-p50", at_most=1 / 3, against=PEER),
    Target("latency-1-p99", at_most=1 / 3, against=PEER),
    Target("latency-5-p50", at_most=1 / 50, against=PEER),
    Target("latency-5-p50", at_most=1.2, of="latency-1-p50", against=OURS),
    Target("submit-1", at_most=1.0, against=PEER),
    Target("submit-32", at_least=1.0, against=PEER),
    Target("submit-32", at_least=0.65, against=RAW),
    Target("yaml-8", at_least=2.5, against=PEER),
    Target("batch", at_least=0.4, against=RAW),
    Target("backlog-1", at_least=3.0, against=PEER),
    Target("backlog-slots", at_least=4.0, of="backlog-1", against=PEER),
    Target("backlog-4", at_least=2.5, against=PEER),
    Target("backlog-fresh", at_least=0.5, of="backlog-1", against=PEER),
    *(
        Target(f"{path}-{count}", at_most=2.0, of=f"{path}-100", against=OURS)
        for path in ("list", "list-filtered", "metrics")
        for count in (10_000, 100_000)
    ),
    *(Target(f"{path}-10000", at_most=1 / 1000, against=PEER) for path in ("list", "list-filtered", "metrics")),
    Target("load", at_most=5.0),
    Target("watch-p50", at_most=1 / 10, against=PEER),
    Target("watch-p99", at_most=1 / 10, against=PEER),
    Target("watch-served", at_least=WATCHER_COUNT),
    Target("health-watched", at_most=2.0, of="health-idle", against=OURS),
    Target("cancel", at_most=1 / 20, against=PEER),
    Target("kill", at_most=6.0),
    Target("stop", at_most=3.0),
    Target("auth", at_least=0.9, of="no-auth", against=OURS),
    Target("start-gateway", at_most=1.0, against=PEER),
    Target("start-worker", at_most=1.0, against=PEER),
    Target("memory-gateway", at_most=60.0),
    Target("memory-worker", at_most=100.0),
)
