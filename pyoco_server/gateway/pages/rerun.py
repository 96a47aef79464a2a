"""Running again by a form what has ended: one run on its page, or those that were ticked in the list.

Each page with such a form holds a key of its own, so that a form that is sent twice begins one run.
"""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, redirect, request
from pydantic import Field
from werkzeug.wrappers import Response as AnyResponse

from pyoco_server.errors import PyocoServerError, Unavailable
from pyoco_server.gateway.admission import require_run
from pyoco_server.gateway.inputs import RerunInput, read_model
from pyoco_server.gateway.pages.frame import page_words, run_address
from pyoco_server.gateway.pages.outcome import outcome_page
from pyoco_server.gateway.pages.picks import list_address, picked
from pyoco_server.gateway.runs import rerun

blueprint = Blueprint("rerun_page", __name__)


class _RerunForm(RerunInput):
    """Fields of a page's form."""

    #: The key that the page has given.
    once: str = Field(min_length=1, max_length=64)


def form_key() -> str:
    """Make the key of a page's forms."""
    return uuid.uuid4().hex


@blueprint.post("/ui/runs/<run_id>/rerun")
def rerun_run(run_id: str) -> AnyResponse:
    """Submit a run again, and show the new one."""
    return redirect(run_address(_rerun(run_id, _sent())), 303)


@blueprint.post("/ui/rerun")
def rerun_picked() -> Response:
    """Submit the ticked runs again, and say what became of each."""
    sent = _sent()
    new: list[str] = []
    refused: list[tuple[str, str]] = []
    for run_id in picked("run"):
        try:
            require_run(run_id)
            new.append(_rerun(run_id, sent))
        except Unavailable:
            # Sent again, the form begins none of them twice.
            raise
        except PyocoServerError as exc:
            refused.append((run_address(run_id), exc.detail))
    title = page_words()("again.done", count=len(new))
    return outcome_page(title, new, refused, list_address("/ui/runs"))


def _sent() -> _RerunForm:
    return read_model(_RerunForm, {name: request.form.get(name, "") for name in ("from", "once")}, "form")


def _rerun(run_id: str, sent: _RerunForm) -> str:
    # No client can send such a key.
    key = f"form\n{sent.once}\n{sent.begins_at}\n{run_id}"
    submitted = rerun(run_id, from_failed=sent.begins_at == "failed", key=key)
    return submitted.run_id
