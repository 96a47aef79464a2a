"""The route of the metrics, and the clock of every request.

Source: contract, section 3, row ``GET /metrics``.
"""

from __future__ import annotations

import time

from flask import Blueprint, Flask, Response, g, request

from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import described

blueprint = Blueprint("metrics", __name__)

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@blueprint.get("/metrics")
@described(media_type="text/plain")
def metrics() -> Response:
    """Give the state of the whole installation, as Prometheus reads it."""
    return Response(gateway().instruments.exposition(), content_type=_CONTENT_TYPE)


def install(app: Flask) -> None:
    """Measure every request of this app."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.began_at = time.monotonic()


def _end(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule is not None else None
    now = time.monotonic()
    # What was refused before the clock was started took no time worth counting.
    duration_sec = now - g.get("began_at", now)
    gateway().instruments.request_answered(route, request.method, response.status_code, duration_sec)
    return response
