"""Routes that say whether the gateway lives and whether it can work."""

from __future__ import annotations

from flask import Blueprint

from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import described
from pyoco_server.gateway.outputs import Health, Readiness

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
@described()
def health() -> Health:
    """Say that the process serves."""
    return {"status": "ok"}


@blueprint.get("/ready")
@described(also=(503,))
def ready() -> tuple[Readiness, int, dict[str, str]]:
    """Say whether NATS answers and lists are complete."""
    parts = gateway()
    document: Readiness = {
        "status": "ready" if parts.model.is_complete else "not ready",
        "nats": {"connected": parts.bus.is_connected, "last_error": parts.bus.last_error},
        "read_model": {"complete": parts.model.is_complete},
    }
    if parts.model.is_complete:
        return document, 200, {}
    return document, 503, {"Retry-After": "1"}
