"""Routes for workers that ask over HTTP, as pyoco's own do, and for what they bring.

Source: contract, section 3, "pyoco's own client and worker".
"""

from __future__ import annotations

from flask import Blueprint

from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import described
from pyoco_server.gateway.inputs import HeartbeatInput, PollInput
from pyoco_server.gateway.outputs import HandedOut, Heard
from pyoco_server.gateway.watch import client_has_left
from pyoco_server.operations.heartbeats import Heartbeat

blueprint = Blueprint("polling", __name__)


@blueprint.post("/workers/poll")
@described()
def poll(body: PollInput) -> HandedOut:
    """Ask for a waiting run; all fields are null when there is none."""
    tags = list(dict.fromkeys(body.tags or [gateway().config.default_tag]))
    polling = gateway().polling
    claimed = polling.take(caller(), body.worker_id, tags)
    if claimed is not None and client_has_left()():
        polling.give_back(claimed)
        claimed = None
    if claimed is None:
        return {"run_id": None, "flow_name": None, "params": None}
    gateway().model.note_seen(claimed.revision)
    snapshot = claimed.snapshot
    return {"run_id": snapshot.run_id, "flow_name": snapshot.flow_name, "params": snapshot.params}


@blueprint.post("/runs/<run_id>/heartbeat")
@described()
def heartbeat(run_id: str, body: HeartbeatInput) -> Heard:
    """Tell of a run that was handed out; the answer says whether its worker is to stop."""
    beat = Heartbeat(
        body.run_status,
        {name: state.value for name, state in body.task_states.items()},
        body.task_records or {},
        # As they were sent, unknown fields and all.
        [entry.model_dump(exclude_unset=True) for entry in body.logs or []],
    )
    return {"cancel_requested": gateway().heartbeats.take(run_id, beat)}
