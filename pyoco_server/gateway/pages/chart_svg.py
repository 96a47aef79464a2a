"""The runs that ended in each of the last hours, as bars: completed ones upward, failed ones downward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyoco_server.states import RunStatus

HOURS = 24
#: Pixels: the line from which the bars go, and how far they may go in both directions.
BASE_Y = 86
_UP, _DOWN = 70, 28
_BAR_PERCENT = 3.2


@dataclass(frozen=True)
class HourBar:
    """One hour; places in percent across and pixels down.

    :param label: its beginning, ``HH:00`` in UTC.
    """

    label: str
    x: float
    width: float
    completed: int
    failed: int
    up: float
    down: float


def hour_bars(ended: Mapping[int, Mapping[str, int]], last_hour: int) -> list[HourBar]:
    """Lay out the hours up to this one.

    :param ended: hours since 1970, then states, then counts.
    """
    hours = range(last_hour - HOURS + 1, last_hour + 1)
    completed = [ended.get(hour, {}).get(RunStatus.COMPLETED.value, 0) for hour in hours]
    failed = [ended.get(hour, {}).get(RunStatus.FAILED.value, 0) for hour in hours]
    # One scale for both directions, or a few failures would look like many.
    unit = min(_UP / max(1, *completed), _DOWN / max(1, *failed))
    return [
        HourBar(
            f"{hour % 24:02d}:00",
            round(100 * number / HOURS + 0.4, 2),
            _BAR_PERCENT,
            completed[number],
            failed[number],
            round(completed[number] * unit, 1),
            round(failed[number] * unit, 1),
        )
        for number, hour in enumerate(hours)
    ]
