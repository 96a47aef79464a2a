"""Where the tasks of a flow stand in its drawing."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pyoco_server.gateway.pages.graph_svg import MAX_NODES, NODE_HEIGHT, NODE_WIDTH, draw


def test_a_task_stands_right_of_all_that_it_waits_for() -> None:
    drawing = draw("abcd", [("a", "b"), ("b", "d"), ("c", "d")])
    assert drawing is not None
    places = drawing.places
    assert places["a"].x == places["c"].x < places["b"].x < places["d"].x
    assert {(line.before, line.after) for line in drawing.lines} == {("a", "b"), ("b", "d"), ("c", "d")}


def test_two_ways_that_need_not_cross_do_not() -> None:
    drawing = draw("abxy", [("a", "y"), ("b", "x")])
    assert drawing is not None
    places = drawing.places
    assert (places["a"].y < places["b"].y) == (places["y"].y < places["x"].y)


def test_what_nobody_could_read_is_not_drawn() -> None:
    assert draw([], []) is None
    assert draw([str(number) for number in range(MAX_NODES + 1)], []) is None
    assert draw([str(number) for number in range(MAX_NODES)], []) is not None


_EDGES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=16, unique=True)


@given(_EDGES)
def test_whatever_the_edges_are_nodes_stand_apart_and_within_the_drawing(edges: list[tuple[str, str]]) -> None:
    drawing = draw("abcdefgh", edges)
    assert drawing is not None
    assert drawing.places.keys() == set("abcdefgh")
    for place in drawing.places.values():
        assert 0 <= place.x <= drawing.width - NODE_WIDTH and 0 <= place.y <= drawing.height - NODE_HEIGHT
    for one, other in itertools.combinations(drawing.places.values(), 2):
        assert abs(one.x - other.x) >= NODE_WIDTH or abs(one.y - other.y) >= NODE_HEIGHT
    for line in drawing.lines:
        assert drawing.places[line.before].x < drawing.places[line.after].x
