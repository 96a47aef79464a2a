"""Times as pages show them, of values that are none."""

from __future__ import annotations

import pytest

from pyoco_server.gateway.pages.i18n import words
from pyoco_server.gateway.pages.times import ago, clock, span

_ENGLISH = words("en")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_span_without_end_is_unknown(value: float) -> None:
    assert span(_ENGLISH, value) == "unknown"


@pytest.mark.parametrize("value", [1e18, -1e12, 0, float("nan"), float("inf"), "soon", None, True, [7]])
def test_what_is_no_moment_is_unknown(value: object) -> None:
    assert (ago(_ENGLISH, value, 1e9), clock(_ENGLISH, value)) == ("unknown", "unknown")


def test_a_moment_has_its_exact_time_beside_what_is_read() -> None:
    exact = 'datetime="2001-09-09T01:46:40Z" title="2001-09-09 01:46:40 UTC"'
    assert ago(_ENGLISH, 1e9, 1e9 + 90) == f"<time {exact}>1 min ago</time>"
    assert clock(_ENGLISH, 1e9) == f"<time {exact}>01:46:40 UTC</time>"
