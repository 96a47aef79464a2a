"""Values of tasks as JSON can carry them."""

from __future__ import annotations

import json
import math
from typing import Any

#: What is shown of a value that JSON cannot carry.
_TEXT_CHARS = 1_000


def portable(value: Any, limit_bytes: int) -> tuple[Any, bool]:
    """Give the value, or a short text where JSON cannot carry it or it is too large.

    :return: what to store, and whether it was cut.
    """
    if value is None or isinstance(value, bool):
        return value, False
    try:
        text = json.dumps(value, allow_nan=False)
    except Exception:
        # Not only what json raises: a value may have methods of its own, or change while it is encoded.
        return _described(value)
    if len(text) <= limit_bytes:
        # What was encoded stands for the value: a task that goes on changing its result cannot change this.
        return json.loads(text), False
    shown = value if isinstance(value, str) else text
    return f"{shown[:_TEXT_CHARS]}… (cut: {len(text)} bytes in all)", True


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


def _described(value: Any) -> tuple[str, bool]:
    if isinstance(value, (bytes, bytearray)):
        # The whole of it as text may be four times as long.
        text = repr(bytes(value[:_TEXT_CHARS]))
        return (f"{text}… (cut: {len(value)} bytes in all)", True) if len(value) > _TEXT_CHARS else (text, False)
    try:
        text = repr(value)
    except Exception as exc:
        text = f"<{type(value).__name__} whose repr() raised {type(exc).__name__}>"
    return (text, False) if len(text) <= _TEXT_CHARS else (f"{text[:_TEXT_CHARS]}…", True)
