"""Values of tasks as JSON can carry them."""

from __future__ import annotations

import json
from typing import Any

#: What is shown of a value that JSON cannot carry.
_TEXT_CHARS = 1_000


def portable(value: Any, limit_bytes: int) -> tuple[Any, bool]:
    """Give the value, or a short text where JSON cannot carry it or it is too large.

    :return: what to store, and whether it was cut.
    """
    if value is None or isinstance(value, (bool, int)):
        return value, False
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError, OverflowError):
        return _described(value), False
    if len(text) <= limit_bytes:
        # What was encoded stands for the value: a task that goes on changing its result cannot change this.
        return json.loads(text), False
    shown = value if isinstance(value, str) else text
    return f"{shown[:_TEXT_CHARS]}… (cut: {len(text)} bytes in all)", True


def _described(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as exc:
        text = f"<{type(value).__name__} whose repr() raised {type(exc).__name__}>"
    return text if len(text) <= _TEXT_CHARS else f"{text[:_TEXT_CHARS]}…"
