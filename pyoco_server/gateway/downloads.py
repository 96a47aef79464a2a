"""Bytes out of an object store as an answer: streamed in bounded memory, and nothing that a browser would run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from urllib.parse import quote

from flask import Response, request

from pyoco_server.bridge.object_documents import ObjectInfo

#: Whatever a browser makes of the bytes, it runs nothing and loads nothing.
_POLICY = "sandbox; default-src 'none'"


def download(info: ObjectInfo, chunks: Iterator[bytes], content_type: str, name: str) -> Response:
    """Give the bytes of an object as a file to be saved.

    :param name: under which it is to be saved; any text.
    :raises PyocoServerError: what fails at the first piece, which can still be answered with a problem.
    """
    first = next(chunks, b"")
    response = Response(itertools.chain([first], chunks), content_type=content_type)
    response.content_length = info.size
    response.headers["Content-Disposition"] = _attachment(name)
    response.headers["Content-Security-Policy"] = _POLICY
    if info.sha256_hex:
        response.set_etag(info.sha256_hex)
    response.make_conditional(request)
    return response


def _attachment(name: str) -> str:
    """Say that the answer is a file (RFC 6266); old clients get its name with what they cannot read replaced."""
    plain = re.sub(r'[^ -~]|["\\]', "_", name)
    told = f'attachment; filename="{plain}"'
    # RFC 8187: for names that plain text cannot carry.
    return told if plain == name else f"{told}; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
