"""Problem documents: the one form of every error that a gateway answers; browsers see them as pages.

Source: RFC 9457; contract, section 3.
"""

from __future__ import annotations

import json
import logging

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from pyoco_server import titles
from pyoco_server.errors import (
    ApiKeyMissing,
    InvalidInput,
    PyocoServerError,
    SubmissionUncertain,
    TooLarge,
    Unavailable,
    WorkflowTooLarge,
)
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.outputs import Problem
from pyoco_server.gateway.pages.faults import fault_page
from pyoco_server.gateway.pages.i18n import choose_language
from pyoco_server.gateway.paths import is_page

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
#: What a client sent is not sent back to it whatever its length.
_MAX_DETAIL_CHARS = 8_192
_MAX_INSTANCE_CHARS = 1_024


def install(app: Flask) -> None:
    """Answer every error of this app with a problem document."""
    app.register_error_handler(PyocoServerError, _ours)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: PyocoServerError) -> Response:
    headers: dict[str, str] = {}
    if isinstance(error, ApiKeyMissing):
        # Required with 401 (RFC 9110, section 15.5.2); there is no registered scheme for keys in a header.
        headers["WWW-Authenticate"] = f'ApiKey header="{error.header}"'
    if error.http_status == Unavailable.http_status:
        headers["Retry-After"] = str(getattr(error, "retry_after_sec", Unavailable.retry_after_sec))
    if error.http_status >= 500 and gateway().log_limit.allows(f"{request.endpoint} {type(error).__name__}"):
        logger.warning("%s %s: %s", request.method, request.path, error, extra={"err_id": error.err_id})
    return _answer(problem_of(error.without_frames(), request.path), headers)


def problem_of(error: PyocoServerError, instance: str) -> Problem:
    """Give the problem document of an error of ours.

    :param instance: the path of what was asked for.
    """
    called = titles.title(type(error), _lang())
    document = problem_document(error.http_status, called, error.detail, instance, error.err_id)
    if isinstance(error, InvalidInput):
        document["errors"] = [fault.as_dict() for fault in error.faults]
    if isinstance(error, SubmissionUncertain):
        document["run_id"] = error.run_id
    return document


def _lang() -> str:
    """Give the language that the client asks for; none is English, whatever the gateway's own locale."""
    return choose_language("auto", request.accept_languages, "en")


def _of_http(error: HTTPException) -> Response:
    if isinstance(error, RequestEntityTooLarge):
        return _ours(body_too_large(request.path, request.max_content_length or 0))
    headers: dict[str, str] = {}
    detail = error.description or ""
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        allowed = ", ".join(sorted(error.valid_methods))
        headers["Allow"] = allowed
        detail = f"{request.path} answers {allowed}, not {request.method}."
    elif error.code == 404:
        detail = f"There is nothing at {request.path}."
    return _answer(problem_document(error.code or 500, error.name, detail, request.path), headers)


def body_too_large(path: str, max_bytes: int) -> TooLarge:
    """Give the error for a body that is refused by its size alone."""
    kind = WorkflowTooLarge if path == "/runs/yaml" else TooLarge
    return kind(f"The body is larger than the {max_bytes} bytes that this gateway reads: send less.")


def _unexpected(error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _answer(problem_document(500, "Internal error", "The gateway failed; its log says how.", request.path), {})


def _answer(document: Problem, headers: dict[str, str]) -> Response:
    if is_page(request.path):
        page = fault_page(document)
        page.headers.update(headers)
        return page
    # Readable in a terminal; halves of surrogate pairs, as a path may have them, are not.
    text = json.dumps(document, ensure_ascii=False).encode(errors="replace")
    response = Response(text, document["status"], headers, content_type=CONTENT_TYPE)
    response.vary.add("Accept-Language")
    return response


def problem_document(status: int, title: str, detail: str, instance: str, err_id: str | None = None) -> Problem:
    """Give a problem document."""
    document: Problem = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail[:_MAX_DETAIL_CHARS],
        "instance": instance[:_MAX_INSTANCE_CHARS],
    }
    if err_id is not None:
        document["err_id"] = err_id
    return document
