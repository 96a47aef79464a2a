"""Where the tasks of a flow and the lines between them stand in a drawing: layers from left to right.

A task's layer is its longest way from a task that waits for nothing; within a layer tasks are ordered by the mean
place of what they are joined to, so that few lines cross. A line over several layers takes a place in each of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

NODE_WIDTH, NODE_HEIGHT = 200, 52
_GAP, _PITCH, _MARGIN = 44, 70, 2
#: Room for the tip of a line, before the node that it leads to.
_TIP = 6
#: More nodes or edges than these are no drawing that anybody could read, nor a page that loads at once.
MAX_NODES, MAX_EDGES = 100, 300
_SWEEPS = 6

Edge = tuple[str, str]


@dataclass(frozen=True)
class Place:
    """The upper left corner of a node, in pixels."""

    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """A line from one node to another, as an SVG path that leaves room for a tip."""

    before: str
    after: str
    path: str


@dataclass(frozen=True)
class Drawing:
    width: float
    height: float
    node_width: int
    node_height: int
    places: dict[str, Place]
    lines: list[Line]


def draw(nodes: Sequence[str], edges: Sequence[Edge]) -> Drawing | None:
    """Lay out a flow; ``None`` when it is too large to be drawn."""
    if not nodes or len(nodes) > MAX_NODES or len(edges) > MAX_EDGES:
        return None
    edges = _without_cycles(nodes, edges)
    layers = _layers(nodes, edges)
    ways = {edge: _way(edge, layers) for edge in edges}
    rows = _rows(_columns(nodes, layers, ways), _neighbours(ways))
    top = min(rows.values())

    def place(item: Item) -> Place:
        layer = layers[item] if isinstance(item, str) else item[2]
        return Place(_MARGIN + layer * (NODE_WIDTH + _GAP), round(_MARGIN + (rows[item] - top) * _PITCH, 1))

    return Drawing(
        width=2 * _MARGIN + max(layers.values()) * (NODE_WIDTH + _GAP) + NODE_WIDTH,
        height=round(2 * _MARGIN + (max(rows.values()) - top) * _PITCH + NODE_HEIGHT, 1),
        node_width=NODE_WIDTH,
        node_height=NODE_HEIGHT,
        places={name: place(name) for name in nodes},
        lines=[_line(edge, [place(item) for item in way]) for edge, way in ways.items()],
    )


#: A node, or the place of an edge in a layer that it passes: (from, to, layer).
Item = str | tuple[str, str, int]


def _without_cycles(nodes: Sequence[str], edges: Sequence[Edge]) -> list[Edge]:
    """Leave out the edges that lead back to where one came from, as those of a task that a program names twice."""
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for before, name in edges:
        after[before].append(name)
    done: set[str] = set()
    kept: list[Edge] = []
    for start in nodes:
        path: dict[str, int] = {} if start in done else {start: 0}
        while path:
            name, position = next(reversed(path.items()))
            if position == len(after[name]):
                del path[name]
                done.add(name)
                continue
            path[name] = position + 1
            following = after[name][position]
            if following in path:
                continue
            kept.append((name, following))
            if following not in done:
                path[following] = 0
    return kept


def _layers(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    layers = dict.fromkeys(nodes, 0)
    has_changed = True
    while has_changed:
        has_changed = False
        for before, after in edges:
            if layers[after] <= layers[before]:
                layers[after] = layers[before] + 1
                has_changed = True
    return layers


def _way(edge: Edge, layers: dict[str, int]) -> list[Item]:
    before, after = edge
    return [before, *((before, after, layer) for layer in range(layers[before] + 1, layers[after])), after]


def _columns(nodes: Sequence[str], layers: dict[str, int], ways: dict[Edge, list[Item]]) -> list[list[Item]]:
    columns: list[list[Item]] = [[] for _ in range(max(layers.values()) + 1)]
    for name in nodes:
        columns[layers[name]].append(name)
    for way in ways.values():
        for item in way:
            if isinstance(item, tuple):
                columns[item[2]].append(item)
    return columns


def _neighbours(ways: dict[Edge, list[Item]]) -> dict[Item, tuple[list[Item], list[Item]]]:
    """Give what each item is joined to, before it and after it."""
    found: dict[Item, tuple[list[Item], list[Item]]] = {}
    for way in ways.values():
        for before, after in itertools.pairwise(way):
            found.setdefault(before, ([], []))[1].append(after)
            found.setdefault(after, ([], []))[0].append(before)
    return found


def _rows(columns: list[list[Item]], neighbours: dict[Item, tuple[list[Item], list[Item]]]) -> dict[Item, float]:
    """Give the row of each item: sweeps there and back order a column by its neighbours, and pull it to them."""
    rows = {item: float(number) for column in columns for number, item in enumerate(column)}
    for sweep in range(_SWEEPS):
        side = sweep % 2
        for column in reversed(columns) if side else columns:
            wanted = {}
            for item in column:
                joined = neighbours.get(item, ([], []))[side]
                wanted[item] = sum(rows[other] for other in joined) / len(joined) if joined else rows[item]
            column.sort(key=wanted.__getitem__)
            placed: list[float] = []
            for item in column:
                placed.append(max(wanted[item], placed[-1] + 1) if placed else wanted[item])
            shift = sum(wanted[item] - row for item, row in zip(column, placed, strict=True)) / len(column)
            rows.update(zip(column, (row + shift for row in placed), strict=True))
    return rows


def _line(edge: Edge, places: list[Place]) -> Line:
    middle = NODE_HEIGHT / 2
    x, y = places[0].x + NODE_WIDTH, places[0].y + middle
    path = f"M{x:g} {y:g}"
    for place in places[1:]:
        is_last = place is places[-1]
        end_x, end_y = place.x - (_TIP if is_last else 0), place.y + middle
        half = x + _GAP / 2
        path += f"C{half:g} {y:g} {half:g} {end_y:g} {end_x:g} {end_y:g}" if end_y != y else f"H{end_x:g}"
        x, y = place.x + NODE_WIDTH, end_y
        if not is_last:
            path += f"H{x:g}"
    return Line(*edge, path)
