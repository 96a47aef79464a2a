"""The first page."""

from __future__ import annotations

from flask import Blueprint, Response

from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import render

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
def overview() -> Response:
    """Say that the gateway serves, and where to go on."""
    config = gateway().config
    return render("overview.html", key_header=config.http_api_key_header if config.asks_for_keys else None)
