"""The route that cancels a run.

Source: contract, section 3, row ``POST /runs/{run_id}/cancel``.
"""

from __future__ import annotations

import time

from flask import Blueprint

from pyoco_server.contract.projections import without_records
from pyoco_server.contract.runs import Snapshot
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import described
from pyoco_server.gateway.outputs import RunDocument

blueprint = Blueprint("cancel", __name__)


@blueprint.post("/runs/<run_id>/cancel")
@described()
def cancel_run(run_id: str) -> RunDocument:
    """Ask for the end of a run; the answer is the run as marked."""
    return without_records(request_cancel(run_id).to_document())


def request_cancel(run_id: str) -> Snapshot:
    """Mark a run for its end; gives it as marked, or as it ended before.

    :raises RunNotFound: there is no such run.
    :raises BusUnavailable: not confirmed; safe to repeat.
    """
    parts = gateway()
    stored = parts.runs.get(run_id)
    marked = parts.cancellation.request(stored, requested_by=caller().signature, now=time.time())
    if marked is not stored:
        parts.model.note_seen(marked.revision)
    return marked.snapshot
