"""What counts as a time among what other programs store, wherever it is shown."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pyoco_server.contract.log_entries import lines_of
from pyoco_server.contract.moments import LAST_MOMENT, is_moment


@pytest.mark.parametrize("value", [1, 0.5, 1_795_307_101.0, LAST_MOMENT])
def test_a_second_that_has_a_date_is_a_moment(value: float) -> None:
    assert is_moment(value)
    assert [line.at for line in lines_of({"timestamp": value, "text": "x"})] == [value]


@pytest.mark.parametrize("value", [None, "soon", True, 0, -1.0, math.nan, math.inf, LAST_MOMENT + 1, [1], 10**400])
def test_all_else_is_none(value: Any) -> None:
    assert not is_moment(value)
    assert [line.at for line in lines_of({"timestamp": value, "text": "x"})] == [None]
