"""Moments: unix seconds, as far as a calendar has a name for them.

Source: contract, section 1.
"""

from __future__ import annotations

from typing import Any, TypeGuard

#: The last second of the year 9999, which is the last that has a date.
LAST_MOMENT = 253_402_300_799.0


def is_moment(value: Any) -> TypeGuard[float]:
    """Say whether a stored value can be shown as a time; other programs may have stored anything, 0 for none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LAST_MOMENT
