"""Signing in with an API key, and out again.

Source: design, section 11; contract, section 3, "Auth".
"""

from __future__ import annotations

import time

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from pyoco_server.errors import ApiKeyInvalid, ApiKeyMissing, PyocoServerError
from pyoco_server.gateway.admission import SESSION_COOKIE
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import render
from pyoco_server.gateway.paths import FIRST_PAGE, SIGN_IN_PATH
from pyoco_server.operations.sessions import SESSION_SEC

blueprint = Blueprint("session", __name__)


def sign_in_page(error: PyocoServerError | None = None) -> Response:
    """Give the form; it shows nothing of what there is."""
    return render(
        "signin.html",
        status=200 if error is None else error.http_status,
        error=error,
        header=gateway().config.http_api_key_header,
        hours=SESSION_SEC // 3_600,
    )


@blueprint.post(SIGN_IN_PATH)
def sign_in() -> AnyResponse:
    """Trade a key for a session."""
    authentication = gateway().authentication
    try:
        caller = authentication.caller(request.form.get("key", "").strip())
    except (ApiKeyInvalid, ApiKeyMissing) as exc:
        return sign_in_page(exc)
    session = authentication.session(caller, expires_at=int(time.time()) + SESSION_SEC)
    response = redirect(FIRST_PAGE, 303)
    if session is not None:
        response.set_cookie(
            SESSION_COOKIE,
            session,
            max_age=SESSION_SEC,
            path="/",
            secure=request.is_secure,
            httponly=True,
            samesite="Strict",
        )
    return response


@blueprint.post("/ui/sign-out")
def sign_out() -> AnyResponse:
    """Forget the session."""
    response = redirect(FIRST_PAGE, 303)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="Strict")
    return response
