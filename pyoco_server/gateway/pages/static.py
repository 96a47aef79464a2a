"""Stylesheet and icon: kept in memory, named by their content, so that a browser asks for each version once."""

from __future__ import annotations

import hashlib
import importlib.resources
from dataclasses import dataclass
from functools import cache

from flask import Blueprint, Response, abort, request

blueprint = Blueprint("static_files", __name__)

_KINDS = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_YEAR_SEC = 31_536_000


@dataclass(frozen=True)
class StaticFile:
    content: bytes
    kind: str
    version: str


@cache
def _files() -> dict[str, StaticFile]:
    found = {}
    for file in (importlib.resources.files("pyoco_server.web") / "static").iterdir():
        kind = _KINDS.get(file.name.rpartition(".")[2])
        if kind is not None:
            content = file.read_bytes()
            found[file.name] = StaticFile(content, kind, hashlib.sha256(content).hexdigest()[:16])
    return found


def static_url(name: str) -> str:
    """Give the address of the version at hand of a file.

    :raises KeyError: there is no such file.
    """
    return f"/static/{name}?v={_files()[name].version}"


@blueprint.get("/static/<path:filename>")
def static_file(filename: str) -> Response:
    """Answer a file; the address with the version of its content may be kept for ever."""
    file = _files().get(filename)
    if file is None:
        abort(404)
    response = Response(file.content, content_type=file.kind)
    response.set_etag(file.version)
    if request.args.get("v") == file.version:
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_SEC}, immutable"
    else:
        response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response
