"""JSON as it is answered: readable by every parser.

Source: RFC 8259, section 6 (no NaN, no Infinity).
"""

from __future__ import annotations

import json
import math
from typing import Any

from flask import Response
from flask.json.provider import JSONProvider

#: Stand in every answer. A cache between would give one tenant's answer to another: it does not know that the key's
#: header matters.
ANSWER_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cache-Control", "private, no-cache"),
)


def to_json(value: Any) -> str:
    """Encode a value; a number that JSON does not know becomes null.

    Snapshots are passed on as they are stored, and other programs of the fleet have stored NaN as Python writes it:
    a list with one of them in it would be unreadable for jq and browsers.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_with_nulls(value))


def json_line(value: Any) -> str:
    """Encode an answer; the line's end is for terminals."""
    return to_json(value) + "\n"


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nulls(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class JsonAnswers(JSONProvider):
    """Flask's answers, encoded by :func:`to_json`."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return to_json(obj)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return Response(json_line(self._prepare_response_obj(args, kwargs)), mimetype="application/json")

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return json.loads(s)
