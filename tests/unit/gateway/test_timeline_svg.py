"""Where the tasks of a run stand in time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyoco_server.gateway.pages.timeline_svg import Bar, scale


def test_an_ended_run_fills_the_scale_but_for_a_little_room() -> None:
    timeline = scale([Bar(100, 150), Bar(150, 200), Bar(None, None)], begin_at=100, end_at=200, now=999, usual_sec=5000)
    first, second, third = timeline.spans
    assert first and second and third is None
    assert first.x == 0 and abs(first.x + first.width - second.x) < 0.1
    assert 97 < second.x + second.width < 99
    assert (timeline.now, timeline.usual) == (None, None)
    assert [sec for _, sec in timeline.ticks] == [0, 15, 30, 45, 60, 75, 90]


def test_a_live_run_shows_now_and_its_usual_end() -> None:
    timeline = scale([Bar(100, None)], begin_at=100, end_at=None, now=130, usual_sec=60)
    (bar,) = timeline.spans
    assert bar and timeline.now and timeline.usual
    assert abs(bar.x + bar.width - timeline.now) < 0.1
    assert abs(timeline.usual - 2 * timeline.now) < 0.1


_MOMENTS = st.floats(0, 1e9)


@given(st.lists(st.tuples(_MOMENTS, st.none() | _MOMENTS), max_size=5), _MOMENTS, st.none() | st.floats(0, 1e7))
def test_nothing_leaves_the_drawing_whatever_the_clocks_say(
    times: list[tuple[float, float | None]], length: float, usual_sec: float | None
) -> None:
    bars = [Bar(begin, end) for begin, end in times]
    for end_at in (None, length):
        timeline = scale(bars, begin_at=0, end_at=end_at, now=length, usual_sec=usual_sec)
        assert 1 <= len(timeline.ticks) <= 9
        for place in [x for x, _ in timeline.ticks] + [bar.x for bar in timeline.spans if bar]:
            assert 0 <= place <= 100
