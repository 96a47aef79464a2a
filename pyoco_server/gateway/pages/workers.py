"""The workers: how each is, what it serves and what it works on."""

from __future__ import annotations

import time

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from pyoco_server.errors import Fault, InvalidListQuery
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import address, render, worker_address
from pyoco_server.gateway.pages.marks import DRAINING, worker_mark
from pyoco_server.gateway.workers import request_drain, set_hidden
from pyoco_server.operations.attention import worker_views
from pyoco_server.states import WorkerState

blueprint = Blueprint("workers_page", __name__)

_REFRESH_SEC = 5
#: What can be shown: the word in the address and the key of its text.
_SCOPES = {"": "workers.shown", "alive": "workers.alive", "hidden": "workers.hidden"}
#: Rows on a page; what is left out is said.
_MAX_ROWS = 200


@blueprint.get("/ui/workers")
def workers() -> Response:
    """Show the workers, those in trouble first."""
    scope = request.args.get("scope", "")
    if scope not in _SCOPES:
        raise InvalidListQuery(faults=[Fault("query.scope", "must be alive or hidden, or left out")])
    timeout_sec = gateway().config.worker_disconnect_timeout_sec
    views = worker_views(gateway().model.workers(), now=time.time(), timeout_sec=timeout_sec)
    shown = {
        "": [view for view in views if not view.record.hidden],
        "alive": [view for view in views if view.is_alive],
        "hidden": [view for view in views if view.record.hidden],
    }
    return render(
        "workers.html",
        refresh_sec=_REFRESH_SEC,
        workers=shown[scope][:_MAX_ROWS],
        left_out_count=max(0, len(shown[scope]) - _MAX_ROWS),
        scopes=[(name, key, len(shown[name]), address("/ui/workers", scope=name)) for name, key in _SCOPES.items()],
        scope=scope,
        alive_count=len(shown["alive"]),
        busy_count=sum(view.busy_count for view in views),
        slot_count=sum(view.slot_count for view in views),
        lost_count=sum(view.state is WorkerState.DISCONNECTED for view in shown[""]),
        has_workers=bool(views),
        worker_mark=worker_mark,
        draining=DRAINING,
        timeout_sec=timeout_sec,
    )


@blueprint.post("/ui/workers/<worker_id>/hidden")
def hide(worker_id: str) -> AnyResponse:
    """Take a worker off the page, or show it again; nothing else changes for it."""
    is_hidden = request.form.get("hidden") == "true"
    set_hidden(worker_id, is_hidden)
    return redirect(address("/ui/workers", scope="" if is_hidden else "hidden"), 303)


@blueprint.post("/ui/workers/<worker_id>/drain")
def drain(worker_id: str) -> AnyResponse:
    """Have a worker take no more runs, and stop."""
    request_drain(worker_id)
    return redirect(worker_address(worker_id), 303)
