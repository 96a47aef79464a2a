"""Cancelling runs by a form: one on its page, or those that were ticked in the list."""

from __future__ import annotations

import contextlib

from flask import Blueprint, redirect
from werkzeug.wrappers import Response

from pyoco_server.errors import RunNotFound
from pyoco_server.gateway.admission import require_run
from pyoco_server.gateway.cancel import request_cancel
from pyoco_server.gateway.pages.frame import run_address
from pyoco_server.gateway.pages.picks import list_address, picked

blueprint = Blueprint("cancel_page", __name__)


@blueprint.post("/ui/runs/<run_id>/cancel")
def cancel_run(run_id: str) -> Response:
    """Ask for the end of a run, and show it."""
    request_cancel(run_id)
    return redirect(run_address(run_id), 303)


@blueprint.post("/ui/cancel")
def cancel_picked() -> Response:
    """Ask for the end of the ticked runs, and show the list again; one that is gone already is no fault."""
    for run_id in picked("run"):
        with contextlib.suppress(RunNotFound):
            require_run(run_id)
            request_cancel(run_id)
    return redirect(list_address("/ui/runs"), 303)
