"""The workers: how each is, what it serves, what it works on and which wheels it has."""

from __future__ import annotations

import time

from flask import Blueprint, Response, redirect, request
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from pyoco_server.errors import Fault, InvalidListQuery, WorkerNotFound
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import address, page_words, render, worker_address
from pyoco_server.gateway.pages.i18n import Words
from pyoco_server.gateway.pages.marks import DRAINING, worker_mark
from pyoco_server.gateway.pages.pieces import piece
from pyoco_server.gateway.pages.rows import name_of
from pyoco_server.gateway.pages.times import span
from pyoco_server.gateway.pages.worker_wheels import wheel_sync
from pyoco_server.gateway.workers import request_drain, set_hidden
from pyoco_server.operations.attention import WorkerView, worker_views
from pyoco_server.states import WorkerState

blueprint = Blueprint("workers_page", __name__)

_REFRESH_SEC = 5
#: What can be shown: the word in the address and the key of its text.
_SCOPES = {"": "workers.shown", "alive": "workers.alive", "hidden": "workers.hidden"}
_PAGE_ROWS = 40
#: Runs named in a row, and on the page of a worker.
_MAX_ROW_RUNS, _MAX_RUNS = 5, 100


@blueprint.get("/ui/workers")
def workers() -> Response:
    """Show the workers, those in trouble first."""
    scope = request.args.get("scope", "")
    if scope not in _SCOPES:
        raise InvalidListQuery(faults=[Fault("query.scope", "must be alive or hidden, or left out")])
    views = _views()
    shown = {
        "": [view for view in views if not view.record.hidden],
        "alive": [view for view in views if view.is_alive],
        "hidden": [view for view in views if view.record.hidden],
    }
    shown_piece = piece(shown[scope], _PAGE_ROWS)
    return render(
        "workers.html",
        refresh_sec=_REFRESH_SEC,
        piece=shown_piece,
        rows=[(view, wheel_sync(view)) for view in shown_piece.rows],
        max_runs=_MAX_ROW_RUNS,
        scopes=[(name, key, len(shown[name]), address("/ui/workers", scope=name)) for name, key in _SCOPES.items()],
        scope=scope,
        alive_count=len(shown["alive"]),
        busy_count=sum(view.busy_count for view in views),
        slot_count=sum(view.slot_count for view in views),
        lost_count=sum(view.state is WorkerState.DISCONNECTED for view in shown[""]),
        has_workers=bool(views),
        worker_mark=worker_mark,
        draining=DRAINING,
        timeout_sec=gateway().config.worker_disconnect_timeout_sec,
    )


@blueprint.get("/ui/workers/<path:worker_id>")
def worker(worker_id: str) -> Response:
    """Show a worker, and its wheels.

    :raises WorkerNotFound: the registry has none of that name, or no longer.
    """
    view = next((view for view in _views() if view.record.worker_id == worker_id), None)
    if view is None:
        raise WorkerNotFound(worker_id)
    return render(
        "worker.html",
        refresh_sec=_REFRESH_SEC,
        title=_title(page_words(), view),
        view=view,
        record=view.record,
        mark=worker_mark(view.state),
        draining=DRAINING,
        sync=wheel_sync(view),
        max_runs=_MAX_RUNS,
    )


def _views() -> list[WorkerView]:
    timeout_sec = gateway().config.worker_disconnect_timeout_sec
    return worker_views(gateway().model.workers(), now=time.time(), timeout_sec=timeout_sec)


def _title(text: Words, view: WorkerView) -> Markup:
    """Say in a sentence how the worker is."""
    name = name_of(view.record.worker_id)
    if view.state is WorkerState.DISCONNECTED:
        return text("worker.is_lost", worker=name, span=span(text, time.time() - view.record.last_seen_at))
    if view.state is WorkerState.STOPPED_GRACEFUL:
        return text("worker.has_stopped", worker=name)
    return text("worker.is_alive", worker=name, busy=view.busy_count, slots=view.slot_count)


@blueprint.post("/ui/workers/<path:worker_id>/hidden")
def hide(worker_id: str) -> AnyResponse:
    """Take a worker off the page, or show it again; nothing else changes for it."""
    is_hidden = request.form.get("hidden") == "true"
    set_hidden(worker_id, is_hidden)
    return redirect(address("/ui/workers", scope="" if is_hidden else "hidden"), 303)


@blueprint.post("/ui/workers/<path:worker_id>/drain")
def drain(worker_id: str) -> AnyResponse:
    """Have a worker take no more runs, and stop."""
    request_drain(worker_id)
    return redirect(worker_address(worker_id), 303)
