"""The first page."""

from __future__ import annotations

from flask import Blueprint, render_template

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
def overview() -> str:
    """Say that the gateway serves, and where to go on."""
    return render_template("overview.html")
