"""Results of tasks as a snapshot shows them: whatever they are, and whatever their methods do."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from pyoco_server.runner.values import Form, portable

LIMIT = 10_000


class Table:
    """Shows what is in it, as tables and arrays do."""

    def __repr__(self) -> str:
        return "   a  b\n0  1  2"


class Exits:
    def __repr__(self) -> str:
        raise SystemExit(3)


class Endless:
    def __repr__(self) -> str:
        return "e" * 10_000_000


class Wrong:
    def __repr__(self) -> Any:
        return 5


class Pretends:
    @property
    def __class__(self) -> Any:
        raise ValueError("nobody asks for my class")


class Cuts(str):
    """Has its own mind about pieces of it."""

    def __getitem__(self, key: Any) -> str:
        raise IndexError(key)


class Holds(dict[str, Any]):
    def items(self) -> Any:
        raise KeyboardInterrupt


def nested(depth: int) -> Any:
    value: Any = "inside"
    for number in range(depth):
        value = [value] if number % 2 else {"x": value}
    return value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Table(), "Table:    a  b\n0  1  2"),
        (Decimal("1.5"), "Decimal('1.5')"),
        (Exits(), "<Exits whose repr() raised SystemExit>"),
        (Wrong(), "<Wrong whose repr() raised TypeError>"),
        (Pretends(), "<Pretends that cannot be shown: ValueError>"),
        ([1, float("nan"), float("-inf")], "[1, nan, -inf]"),
        ({"a": {1}}, "{'a': {1}}"),
        (10**5000, "<int whose repr() raised ValueError>"),
        ({(1, 2): b"x"}, "{(1, 2): b'x'}"),
        ((number for number in ()), "<generator object"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_carry_is_shown_as_what_it_is(value: Any, shown: str) -> None:
    text, form = portable(value, LIMIT)
    assert text.startswith(shown) and form is Form.DESCRIBED
    assert "\n" in shown or len(text) < 200


def test_what_shows_itself_at_great_length_is_cut() -> None:
    text, form = portable(Endless(), LIMIT)
    assert form is Form.CUT and text.startswith("Endless: eee") and len(text) < 1_100


@pytest.mark.parametrize("value", [Cuts("x" * 20_000), Holds(a="x" * 20_000), bytearray(20_000), "\ud800" * 20_000])
def test_what_is_large_is_cut_whatever_its_methods_do(value: Any) -> None:
    text, form = portable(value, LIMIT)
    assert isinstance(text, str) and len(text) < 6_000
    assert form is Form.CUT or "KeyboardInterrupt" in text


@pytest.mark.parametrize("depth", [1, 99, 100])
def test_what_is_nested_as_deeply_as_a_request_may_be_is_carried(depth: int) -> None:
    assert portable(nested(depth), LIMIT) == (nested(depth), Form.ITSELF)


@pytest.mark.parametrize("depth", [101, 500, 980, 5_000])
def test_what_is_nested_more_deeply_is_shown_as_text(depth: int) -> None:
    shown, form = portable(nested(depth), LIMIT)
    assert isinstance(shown, str) and len(shown) < 1_100
    # It depends on the Python and the stack whether the deepest ones can be encoded.
    assert form is Form.CUT or (depth >= 980 and form is Form.DESCRIBED)


def test_many_lists_beside_each_other_are_not_deep() -> None:
    value = [[number] for number in range(1_000)]
    assert portable(value, LIMIT) == (value, Form.ITSELF)


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": "x"}, 2**200, "日本", {"": None}])
def test_what_json_carries_comes_through(value: Any) -> None:
    found, form = portable(value, LIMIT)
    assert (found, form) == (value, Form.ITSELF)
    assert json.loads(json.dumps(found)) == value
