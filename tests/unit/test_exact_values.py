"""Which results JSON carries so that they come back as they were."""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import Any

import pytest

from pyoco_server.runner.values import is_exact


class _Colour(enum.IntEnum):
    RED = 1


class _Text(str):
    pass


def _endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "x", [], {}, [{"a": [None, 2**70]}], {"": {"b": "\ud800"}}])
def test_plain_values_are_exact(value: Any) -> None:
    assert is_exact(value)


@pytest.mark.parametrize(
    "value",
    [
        (1,),
        [(1,)],
        {1: 2},
        {"a": {1, 2}},
        float("nan"),
        float("inf"),
        b"x",
        _Colour.RED,
        _Text("x"),
        {_Text("x"): 1},
        OrderedDict(a=1),
        object(),
        _endless(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_comes_back_as_something_else_is_not(value: Any) -> None:
    assert not is_exact(value)
