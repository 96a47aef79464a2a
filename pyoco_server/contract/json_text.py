"""JSON that every parser reads.

Source: RFC 8259, section 6 (no NaN, no Infinity).
"""

from __future__ import annotations

import json
import math
from typing import Any

#: Made once: ``json.dumps`` would make one for each text.
_ENCODER = json.JSONEncoder(allow_nan=False)


def to_json(value: Any) -> str:
    """Encode a value; a number that JSON does not know becomes null.

    Snapshots are passed on as they are stored, and other programs of the fleet have stored NaN as Python writes it:
    a list with one of them in it would be unreadable for jq and browsers.
    """
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return json.dumps(_with_nulls(value))


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nulls(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
