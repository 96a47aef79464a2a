"""The proof that a form was sent by a page of ours, and not by another site in the reader's browser.

Source: design, section 11; Fetch Metadata, ``Sec-Fetch-Site``; RFC 6454 (``Origin``).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, request

from pyoco_server.errors import ForeignOrigin
from pyoco_server.gateway.paths import is_page

_READING = ("GET", "HEAD", "OPTIONS")


def install(app: Flask) -> None:
    """Refuse what another site has sent to a page of this app, before its route is called."""
    app.before_request(_require_own_origin)


def _require_own_origin() -> None:
    has_route = request.routing_exception is None
    if not has_route or not is_page(request.path) or request.method in _READING:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_own = site == "same-origin"
    else:
        # Browsers send that header to trustworthy addresses only, not over plain HTTP to another host.
        is_own = urlsplit(request.headers.get("Origin", "")).netloc == request.host
    if not is_own:
        raise ForeignOrigin
