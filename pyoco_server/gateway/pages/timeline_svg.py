"""The tasks of a run over time: places in percent of the drawing's width, so that it is never distorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Distances between ticks, seconds; the first that gives at most so many of them is taken.
_STEPS_SEC = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200)
_DAY_SEC = 86_400
_MAX_TICKS = 8
#: What is left free behind the end; a live run may still grow.
_ROOM, _LIVE_ROOM = 0.02, 0.07
_MIN_PERCENT = 0.35


@dataclass(frozen=True)
class Bar:
    """One task: when it began and ended; ``None`` when it did not begin, or goes on."""

    begin_at: float | None
    end_at: float | None


@dataclass(frozen=True)
class Span:
    """A bar's place, in percent."""

    x: float
    width: float


@dataclass(frozen=True)
class Timeline:
    """Where everything stands, in percent.

    :param ticks: place and seconds since the beginning.
    :param spans: one for each bar; ``None`` where it did not begin.
    :param now: where a live run is.
    :param usual: where it usually ends.
    """

    ticks: list[tuple[float, float]]
    spans: list[Span | None]
    now: float | None
    usual: float | None


def scale(
    bars: Sequence[Bar], *, begin_at: float, end_at: float | None, now: float, usual_sec: float | None
) -> Timeline:
    """Lay out the tasks of a run.

    :param end_at: when the run ended; ``None`` while it goes on.
    :param usual_sec: how long such a run usually takes.
    """
    is_live = end_at is None
    last = max([end_at or now, *(bar.end_at for bar in bars if bar.end_at is not None)])
    length = max(last - begin_at, 0.001)
    if is_live and usual_sec is not None:
        length = max(length, usual_sec)
    width = length * (1 + (_LIVE_ROOM if is_live else _ROOM))

    def percent(sec: float) -> float:
        return round(min(max(100 * sec / width, 0.0), 100.0), 2)

    step = next((step for step in _STEPS_SEC if width / step <= _MAX_TICKS), None)
    if step is None:
        step = _DAY_SEC * (int(width / _DAY_SEC / _MAX_TICKS) + 1)
    spans: list[Span | None] = []
    for bar in bars:
        if bar.begin_at is None:
            spans.append(None)
            continue
        x = percent(bar.begin_at - begin_at)
        until = percent((bar.end_at if bar.end_at is not None else last) - begin_at)
        spans.append(Span(x, round(max(until - x, _MIN_PERCENT), 2)))
    return Timeline(
        ticks=[(percent(number * step), number * step) for number in range(int(length / step) + 1)],
        spans=spans,
        now=percent(now - begin_at) if is_live else None,
        usual=percent(usual_sec) if is_live and usual_sec is not None else None,
    )
