"""Charts side by side as one SVG: counts on a logarithmic axis, costs on another, so that what is flat looks flat."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 340, 240, 44
#: Told apart by colour and by dashes.
_STYLES = (("#1f5fa8", ""), ("#b3541e", "6 3"), ("#2d7d46", "2 3"), ("#6b4ba3", "8 3 2 3"))


@dataclass(frozen=True)
class Line:
    """A line of a chart; its points are (count, cost), with counts that rise."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """A chart; its title says what is counted."""

    title: str
    lines: Sequence[Line]


def svg(charts: Sequence[Chart]) -> str:
    """Draw charts side by side, with one axis of costs and one legend for all of them."""
    costs = [cost for chart in charts for line in chart.lines for _, cost in line.points if cost > 0]
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    width, height = _WIDTH * len(charts), _HEIGHT + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif"'
        ' font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, chart in enumerate(charts):
        parts += [f'<g transform="translate({number * _WIDTH} 0)">', *_chart(chart, low, max(high, low + 1)), "</g>"]
    for number, line in enumerate(charts[0].lines):
        x, y = _MARGIN + number * 235, _HEIGHT + 38
        parts.append(
            f'<path d="M{x} {y - 4}h28" {_style(number)}/><text x="{x + 34}" y="{y}">{escape(line.name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(chart: Chart, low: int, high: int) -> Iterator[str]:
    counts = [count for line in chart.lines for count, _ in line.points]
    first, last = math.log10(min(counts)), math.log10(max(counts))

    def x(count: float) -> float:
        return _MARGIN + (math.log10(count) - first) / ((last - first) or 1) * (_WIDTH - 1.5 * _MARGIN)

    def y(cost: float) -> float:
        share = (math.log10(max(cost, 10**low)) - low) / (high - low)
        return _HEIGHT - _MARGIN + 10 - share * (_HEIGHT - 1.6 * _MARGIN)

    for power in range(low, high + 1):
        at = y(10**power)
        yield f'<path d="M{_MARGIN} {at:.1f}H{_WIDTH - _MARGIN / 2}" stroke="#ddd"/>'
        yield f'<text x="{_MARGIN - 6}" y="{at + 4:.1f}" text-anchor="end" fill="#555">{10.0**power:g}</text>'
    for count in sorted(set(counts)):
        yield f'<text x="{x(count):.1f}" y="{_HEIGHT - 14}" text-anchor="middle" fill="#555">{count:,}</text>'
    yield f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 4}" text-anchor="middle">{escape(chart.title)}</text>'
    for number, line in enumerate(chart.lines):
        places = [(x(count), y(cost)) for count, cost in line.points]
        yield f'<path d="M{" L".join(f"{a:.1f} {b:.1f}" for a, b in places)}" {_style(number)}/>'
        yield from (f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{_STYLES[number][0]}"/>' for a, b in places)


def _style(number: int) -> str:
    colour, dashes = _STYLES[number]
    return f'fill="none" stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
