"""JSON as it is answered: readable by every parser.

Source: RFC 8259, section 6 (no NaN, no Infinity).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from flask import Response
from flask.json.provider import JSONProvider

from pyoco_server.contract.json_text import to_json

#: A larger answer is not held in memory as a whole.
_WHOLE_CHARS = 1024 * 1024
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


def json_in_pieces(pieces: Iterator[str]) -> Response:
    """Answer a text of JSON that comes in pieces: at once where it is small, else piece by piece as they are made.

    What fails within the first megabyte can still be answered with a problem; later the answer breaks off.
    """
    head: list[str] = []
    size = 0
    for piece in pieces:
        head.append(piece)
        size += len(piece)
        if size > _WHOLE_CHARS:
            return Response(itertools.chain(["".join(head)], pieces), mimetype="application/json")
    return Response("".join(head), mimetype="application/json")


class JsonAnswers(JSONProvider):
    """Flask's answers, encoded by :func:`to_json`."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return to_json(obj)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return Response(json_line(self._prepare_response_obj(args, kwargs)), mimetype="application/json")

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return json.loads(s)
