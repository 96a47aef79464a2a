"""When a stream counts as moved away from a server that leaves."""

from __future__ import annotations

import pytest

from pyoco_server.bridge.overview import Replica, StreamFacts
from pyoco_server.operations.leave import has_moved


def stream(*servers: str, is_moving: bool = False) -> StreamFacts:
    """Give a stream of three copies as its leader tells of it, which is the first of these servers."""
    leader, *others = servers
    replicas = tuple(Replica(name, True, False, 0.0, 0) for name in others)
    return StreamFacts("S", {"num_replicas": 3}, 0, 0, 0, leader, replicas, is_moving, 0.0)


def test_stream_has_moved_when_others_have_all_its_copies() -> None:
    assert has_moved(stream("n1", "n2", "n4"), "n3")


@pytest.mark.parametrize(
    "told",
    [
        stream("n1", "n2", "n3"),
        stream("n3", "n1", "n2"),
        stream("n1", "n2", "n4", is_moving=True),
        stream("n1", "n2", "n4", "n3"),
        # A leader that has just been chosen was seen to tell of itself alone.
        stream("n1"),
    ],
    ids=["holds", "leads", "moving", "one-more", "alone"],
)
def test_stream_has_not_moved_before(told: StreamFacts) -> None:
    assert not has_moved(told, "n3")
