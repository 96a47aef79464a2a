"""JSON as it is answered: readable by every parser.

Source: RFC 8259, section 6 (no NaN, no Infinity).
"""

from __future__ import annotations

import json
from typing import Any

from flask import Response
from flask.json.provider import JSONProvider

from pyoco_server.contract.json_text import to_json

#: Stand in every answer. A cache between would give one tenant's answer to another: it does not know that the key's
#: header matters.
ANSWER_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cache-Control", "private, no-cache"),
)


def json_line(value: Any) -> str:
    """Encode an answer; the line's end is for terminals."""
    return to_json(value) + "\n"


class JsonAnswers(JSONProvider):
    """Flask's answers, encoded by :func:`to_json`."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return to_json(obj)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return Response(json_line(self._prepare_response_obj(args, kwargs)), mimetype="application/json")

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return json.loads(s)
