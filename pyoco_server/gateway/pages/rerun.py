"""Running again by a form what has ended: one run on its page, or those that were ticked in the list.

Each page with such a form holds a key of its own, so that a form that is sent twice begins one run.
"""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from pyoco_server.errors import Fault, InvalidInput, PyocoServerError, Unavailable
from pyoco_server.gateway.admission import require_run
from pyoco_server.gateway.pages.frame import page_words, run_address
from pyoco_server.gateway.pages.outcome import outcome_page
from pyoco_server.gateway.pages.picks import list_address, picked
from pyoco_server.gateway.runs import rerun

blueprint = Blueprint("rerun_page", __name__)

#: Where a rerun can begin.
_BEGINNINGS = ("all", "failed")
_MAX_KEY_CHARS = 64


def form_key() -> str:
    """Make the key of a page's forms."""
    return uuid.uuid4().hex


@blueprint.post("/ui/runs/<run_id>/rerun")
def rerun_run(run_id: str) -> AnyResponse:
    """Submit a run again, and show the new one."""
    return redirect(run_address(_rerun(run_id)), 303)


@blueprint.post("/ui/rerun")
def rerun_picked() -> Response:
    """Submit the ticked runs again, and say what became of each."""
    new: list[str] = []
    refused: list[tuple[str, str]] = []
    for run_id in picked("run"):
        try:
            require_run(run_id)
            new.append(_rerun(run_id))
        except Unavailable:
            # Sent again, the form begins none of them twice.
            raise
        except PyocoServerError as exc:
            refused.append((run_address(run_id), exc.detail))
    title = page_words()("again.done", count=len(new))
    return outcome_page(title, new, refused, list_address("/ui/runs"))


def _rerun(run_id: str) -> str:
    begins_at = request.form.get("from", "")
    key = request.form.get("once", "")
    faults = []
    if begins_at not in _BEGINNINGS:
        faults.append(Fault("form.from", f"must be one of {', '.join(_BEGINNINGS)}"))
    if not 0 < len(key) <= _MAX_KEY_CHARS:
        faults.append(Fault("form.once", "must be the key that the page has given"))
    if faults:
        raise InvalidInput(faults=faults)
    # No client can send such a key.
    submitted = rerun(run_id, from_failed=begins_at == "failed", key=f"form\n{key}\n{begins_at}\n{run_id}")
    return submitted.run_id
