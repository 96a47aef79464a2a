"""Problem documents: the one form of every error that a gateway answers.

Source: RFC 9457; contract, section 3.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from pyoco_server.errors import (
    InvalidInput,
    PyocoServerError,
    SubmissionUncertain,
    TooLarge,
    Unavailable,
    WorkflowTooLarge,
)

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"


def install(app: Flask) -> None:
    """Answer every error of this app with a problem document."""
    app.register_error_handler(PyocoServerError, _ours)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: PyocoServerError) -> Response:
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}
    if isinstance(error, InvalidInput):
        extra["errors"] = [fault.as_dict() for fault in error.faults]
    if isinstance(error, SubmissionUncertain):
        extra["run_id"] = error.run_id
    if error.http_status == Unavailable.http_status:
        headers["Retry-After"] = str(getattr(error, "retry_after_sec", Unavailable.retry_after_sec))
    if error.http_status >= 500:
        logger.warning("%s %s: %s", request.method, request.path, error, extra={"err_id": error.err_id})
    return _problem(error.http_status, type(error).title(), error.detail, error.err_id, extra, headers)


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
    return _problem(error.code or 500, error.name, detail, None, {}, headers)


def body_too_large(path: str, max_bytes: int) -> TooLarge:
    """Give the error for a body that is refused by its size alone."""
    kind = WorkflowTooLarge if path == "/runs/yaml" else TooLarge
    return kind(f"The body is larger than the {max_bytes} bytes that this gateway reads: send less.")


def _unexpected(error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _problem(500, "Internal error", "The gateway failed; its log says how.", None, {}, {})


def _problem(
    status: int, title: str, detail: str, err_id: str | None, extra: dict[str, Any], headers: dict[str, str]
) -> Response:
    text = problem_document(status, title, detail, request.path, err_id, extra)
    return Response(text, status, headers, content_type=CONTENT_TYPE)


def problem_document(
    status: int, title: str, detail: str, instance: str, err_id: str | None, extra: dict[str, Any]
) -> str:
    """Give the text of a problem document."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    if err_id is not None:
        document["err_id"] = err_id
    return json.dumps({**document, **extra})
