"""The fast lane: ``POST /runs``, the request that comes most often by far, accepted without Flask.

Flask takes as long for it as all the rest of a submission together. Nothing is decided here in another way than there:
the same parts let the caller in, read the body and submit, and errors are handed to Flask, which answers them.

Source: design, section 8.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, request

from pyoco_server.errors import ApiKeyReadOnly
from pyoco_server.gateway.answers import ANSWER_HEADERS, json_line
from pyoco_server.gateway.context import Gateway
from pyoco_server.gateway.inputs import RunInput, read_json_object, read_model
from pyoco_server.gateway.room import FREE_BYTES
from pyoco_server.gateway.runs import accepted, submit
from pyoco_server.operations.submit import Submitted

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH, _METHOD = "/runs", "POST"
#: In a request that Flask is to answer with this error.
_ERROR = "pyoco_server.error"
_JSON_TYPE = ("Content-Type", "application/json")


def install(app: Flask) -> None:
    """Have this app answer the errors of the fast lane."""
    app.before_request(_raise_error)


def _raise_error() -> None:
    # Taken out: the error holds the frames that hold the environment.
    error = request.environ.pop(_ERROR, None)
    if error is not None:
        raise error


class FastLane:
    """Accepts plain submissions, and leaves everything else, all errors too, to the application."""

    def __init__(self, app: WSGIApplication, parts: Gateway) -> None:
        self._app = app
        self._parts = parts
        self._key_name = "HTTP_" + parts.config.http_api_key_header.upper().replace("-", "_")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began_at = time.monotonic()
        if environ["PATH_INFO"] != _PATH or environ["REQUEST_METHOD"] != _METHOD or not _is_plain(environ):
            return self._app(environ, start_response)
        try:
            submitted = self._submit(environ)
        except Exception as exc:
            environ[_ERROR] = exc
            return self._app(environ, start_response)
        answer = json_line(accepted(submitted)).encode()
        self._parts.instruments.request_answered(_PATH, _METHOD, 200, time.monotonic() - began_at)
        start_response("200 OK", [_JSON_TYPE, ("Content-Length", str(len(answer))), *ANSWER_HEADERS])
        return [answer]

    def _submit(self, environ: WSGIEnvironment) -> Submitted:
        """Do what the route does.

        :raises PyocoServerError: as there.
        """
        parts = self._parts
        caller = parts.authentication.caller(environ.get(self._key_name))
        if not caller.may_write:
            raise ApiKeyReadOnly
        payload = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        body = read_model(RunInput, read_json_object(payload, "body"), "body")
        return submit(parts, body.request(caller, parts.config.default_tag), key=None)


def _is_plain(environ: WSGIEnvironment) -> bool:
    """Say whether a submission needs nothing but what this lane does: it is small, and has no idempotency key."""
    length = environ.get("CONTENT_LENGTH") or ""
    is_small = length.isdecimal() and int(length) <= FREE_BYTES
    return is_small and "HTTP_IDEMPOTENCY_KEY" not in environ and "HTTP_TRANSFER_ENCODING" not in environ
