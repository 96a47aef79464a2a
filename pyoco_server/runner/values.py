"""Values of tasks as JSON can carry them."""

from __future__ import annotations

import enum
import json
import math
from typing import Any

#: What is shown of a value that JSON cannot carry.
_TEXT_CHARS = 1_000
#: Deeper values are shown as text: whoever reads a snapshot has to get through it, on a stack that is in use already.
_MAX_NESTING = 100


class Form(enum.Enum):
    """What is stored of a value."""

    #: The value.
    ITSELF = enum.auto()
    #: A text that says what it is, for JSON cannot carry it.
    DESCRIBED = enum.auto()
    #: A text that leaves out some of it, for it is too large or nested too deeply.
    CUT = enum.auto()


def portable(value: Any, limit_bytes: int) -> tuple[Any, Form]:
    """Give the value, or a short text where JSON cannot carry it or it is too large.

    :return: what to store, and what that is.
    """
    try:
        return _portable(value, limit_bytes)
    except BaseException as exc:
        # Also SystemExit: its methods are the task's, and a result that cannot be looked at must not end the run.
        return f"<{type(value).__name__} that cannot be shown: {type(exc).__name__}>", Form.DESCRIBED


def _portable(value: Any, limit_bytes: int) -> tuple[Any, Form]:
    try:
        text = json.dumps(value, allow_nan=False)
    except Exception:
        # Not only what json raises: a value may have methods of its own, or change while it is encoded.
        return _described(value)
    if len(text) > limit_bytes:
        shown = str.__str__(value) if isinstance(value, str) else text
        return f"{shown[:_TEXT_CHARS]}… (cut: {len(text)} bytes in all)", Form.CUT
    # What was encoded stands for the value: a task that goes on changing its result cannot change this.
    found = json.loads(text)
    return (_described(value)[0], Form.CUT) if _is_deep(found, text) else (found, Form.ITSELF)


def _is_deep(value: Any, text: str) -> bool:
    """Say whether a value is nested more deeply than is stored as it is.

    :param text: the value as JSON, which tells of most values that they cannot be.
    """
    if text.count("[") + text.count("{") <= _MAX_NESTING:
        return False
    level = [value]
    for _ in range(_MAX_NESTING + 1):
        level = [inner for outer in level if isinstance(outer, (list, dict)) for inner in _parts(outer)]
    return bool(level)


def _parts(value: list[Any] | dict[str, Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


def is_exact(value: Any) -> bool:
    """Say whether JSON carries the value so faithfully that what is read back is the same, types included."""
    try:
        return _is_exact(value)
    except RecursionError:
        return False


def _is_exact(value: Any) -> bool:
    if type(value) is list:
        return all(_is_exact(item) for item in value)
    if type(value) is dict:
        return all(type(key) is str and _is_exact(item) for key, item in value.items())
    # Not by isinstance(): an enumeration, for one, is an int that would come back as a plain one.
    return type(value) in (type(None), bool, int, str) or (type(value) is float and math.isfinite(value))


def _described(value: Any) -> tuple[str, Form]:
    """Give a value's type and what it says of itself, cut."""
    if isinstance(value, (bytes, bytearray)):
        # The whole of it as text may be four times as long.
        text = repr(bytes(value[:_TEXT_CHARS]))
        if len(value) <= _TEXT_CHARS:
            return text, Form.DESCRIBED
        return f"{text}… (cut: {len(value)} bytes in all)", Form.CUT
    kind = type(value)
    try:
        text = repr(value)
    except BaseException as exc:
        text = f"<{kind.__name__} whose repr() raised {type(exc).__name__}>"
    shown = text[:_TEXT_CHARS]
    if kind.__module__ != "builtins" and kind.__name__ not in shown:
        # A table or an array shows what is in it, and not that it is one.
        shown = f"{kind.__name__}: {shown}"
    return (shown, Form.DESCRIBED) if len(text) <= _TEXT_CHARS else (f"{shown}…", Form.CUT)
