"""The tasks of the flow that ``pyoco-server demo`` runs: two branches that work side by side."""

from __future__ import annotations

import time

#: Long enough to be seen, short enough not to be waited for.
_WORK_SEC = 0.6


def load(count: int) -> list[int]:
    """Make some numbers."""
    print(f"loading {count} numbers")
    return list(range(1, count + 1))


def total(load: list[int]) -> int:
    """Add them up."""
    time.sleep(_WORK_SEC)
    return sum(load)


def largest(load: list[int]) -> int:
    """Find the largest."""
    time.sleep(_WORK_SEC)
    return max(load)


def report(total: int, largest: int) -> str:
    """Put the two results into a sentence."""
    return f"The numbers add up to {total}; the largest is {largest}."
