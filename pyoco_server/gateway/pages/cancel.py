"""Cancelling runs by a form: one on its page, or those that were ticked in the list."""

from __future__ import annotations

import contextlib
from urllib.parse import parse_qs

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

from pyoco_server.errors import Fault, InvalidInput, RunNotFound
from pyoco_server.gateway.admission import require_run
from pyoco_server.gateway.cancel import request_cancel
from pyoco_server.gateway.pages.frame import address, run_address

blueprint = Blueprint("cancel_page", __name__)

#: Runs of one form; more than a list shows.
_MAX_RUNS = 200


@blueprint.post("/ui/runs/<run_id>/cancel")
def cancel_run(run_id: str) -> Response:
    """Ask for the end of a run, and show it."""
    request_cancel(run_id)
    return redirect(run_address(run_id), 303)


@blueprint.post("/ui/cancel")
def cancel_picked() -> Response:
    """Ask for the end of the ticked runs, and show the list again; one that is gone already is no fault."""
    run_ids = request.form.getlist("run")
    if not 1 <= len(run_ids) <= _MAX_RUNS:
        raise InvalidInput(faults=[Fault("form.run", f"tick between 1 and {_MAX_RUNS} runs")])
    for run_id in run_ids:
        with contextlib.suppress(RunNotFound):
            require_run(run_id)
            request_cancel(run_id)
    return redirect(address("/ui/runs", **parse_qs(request.form.get("back", ""))), 303)
