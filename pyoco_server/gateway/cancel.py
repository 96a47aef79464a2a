"""The route that cancels a run.

Source: contract, section 3, row ``POST /runs/{run_id}/cancel``.
"""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint

from pyoco_server.contract.projections import without_records
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway

blueprint = Blueprint("cancel", __name__)


@blueprint.post("/runs/<run_id>/cancel")
def cancel_run(run_id: str) -> dict[str, Any]:
    """Ask for the end of a run; the answer is the run as marked."""
    parts = gateway()
    stored = parts.runs.get(run_id)
    marked = parts.cancellation.request(stored, requested_by=caller().signature, now=time.time())
    if marked is not stored:
        parts.model.note_written(marked.revision)
    return without_records(marked.snapshot.to_document())
