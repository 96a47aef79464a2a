"""The first page."""

from __future__ import annotations

from flask import Blueprint, render_template

from pyoco_server.gateway.context import gateway

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
def overview() -> str:
    """Say that the gateway serves, and where to go on."""
    config = gateway().config
    return render_template("overview.html", key_header=config.http_api_key_header if config.asks_for_keys else None)
