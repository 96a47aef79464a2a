"""A request to a whole gateway and to its Flask application alone, and what of the answers must be the same."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults

import requests

from pyoco_server.gateway.app import create_app
from tests.support.gateway import LocalGateway

#: What the server adds to each answer, whoever gave it.
OF_THE_SERVER = {"date", "server", "content-length", "connection"}

Answer = tuple[str, Iterable[tuple[str, str]], bytes]


def from_flask(
    gateway: LocalGateway, body: bytes, headers: dict[str, str], path: str = "/runs", method: str = "POST"
) -> Answer:
    """Ask the application alone, as another WSGI server would."""
    path, _, query = path.partition("?")
    given: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": headers.get("Content-Type", ""),
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
    }
    setup_testing_defaults(given)
    given["wsgi.input"] = io.BytesIO(body)
    started: list[Any] = []
    answer = b"".join(create_app(gateway.parts)(given, lambda *head: started.append(head)))
    return started[0][0], started[0][1], answer


def from_server(
    gateway: LocalGateway, body: bytes, headers: dict[str, str], path: str = "/runs", method: str = "POST"
) -> Answer:
    """Ask over HTTP; the library's own headers are of no concern."""
    answer = requests.request(method, gateway.url + path, data=body, headers=headers, timeout=60)
    return f"{answer.status_code} {answer.reason}", answer.headers.items(), answer.content


def comparable(answer: Answer) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Give what must be the same: the id of an accepted run is not."""
    status, headers, body = answer
    document = json.loads(body)
    if "run_id" in document:
        document["run_id"] = ...
    if document.get("detail", "").startswith("The snapshot of run"):
        document["detail"] = ...
    return status, {n.lower(): v for n, v in headers if n.lower() not in OF_THE_SERVER}, document
