"""Who gets in, and whose runs exist for whom: one place, before any route. (The fast lane, which is before Flask, asks
for the key by itself.)

A route need not think of tenants: a run of another one is answered 404 before the route is called, lists ask for the
caller's tenant because :class:`RunQuery` has no default for it, and so do submissions.

Source: contract, section 3, "Auth".
"""

from __future__ import annotations

from flask import Flask, g, request

from pyoco_server.errors import ApiKeyInvalid, ApiKeyMissing, ApiKeyReadOnly, RunNotFound
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.paths import FIRST_PAGE, SIGN_IN_PATH, is_page
from pyoco_server.operations.authenticate import Caller

#: What answers everybody; the first page, too, but then it shows nothing.
_OPEN_PATHS = ("/health", "/ready", SIGN_IN_PATH)
_OPEN_PREFIX = "/static/"
#: Holds a browser's session.
SESSION_COOKIE = "pyoco_session"
#: Methods that change nothing.
READING = ("GET", "HEAD")


def install(app: Flask) -> None:
    """Ask for keys before every route of this app, also where there is none."""
    app.before_request(_admit)


def is_open(path: str) -> bool:
    """Say whether everybody is answered there."""
    return path in _OPEN_PATHS or path.startswith(_OPEN_PREFIX)


def caller() -> Caller:
    """Give who makes the request; an open path has none, and fails here."""
    found: Caller = g.caller
    return found


def is_admitted() -> bool:
    """Say whether anything but the open paths may be shown to who makes the request."""
    return "caller" in g


def _admit() -> None:
    is_reading = request.method in READING
    if is_open(request.path):
        return
    try:
        g.caller = _caller(is_reading)
    except (ApiKeyMissing, ApiKeyInvalid):
        if request.path == FIRST_PAGE and is_reading:
            return
        raise
    if not (is_reading or g.caller.may_write):
        raise ApiKeyReadOnly
    run_id = (request.view_args or {}).get("run_id")
    if run_id is not None:
        require_run(run_id)


def _caller(is_reading: bool) -> Caller:
    """Tell who asks by the key, or by a browser's session.

    A session stands for reading, and for the forms of pages, which bring a proof of their own that another site has
    not sent them (:mod:`pyoco_server.gateway.pages.origin`): no other route may be written to by it.
    """
    parts = gateway()
    key = request.headers.get(parts.config.http_api_key_header)
    session = request.cookies.get(SESSION_COOKIE)
    if key is None and session and (is_reading or is_page(request.path)):
        return parts.authentication.caller_of_session(session)
    return parts.authentication.caller(key)


def require_run(run_id: str) -> None:
    """Make sure that a run exists for the caller; for ids that do not stand in the path as ``run_id``.

    :raises RunNotFound: there is none, or it is another tenant's, which must look the same.
    :raises BusUnavailable: no answer.
    """
    tenant_id = caller().tenant_id
    parts = gateway()
    # A run keeps its tenant, so the read model need not be up to date to say yes.
    if tenant_id is None or parts.model.has_run(run_id, tenant_id):
        return
    if not caller().sees(parts.runs.get(run_id).snapshot.tenant_id):
        raise RunNotFound(run_id)
