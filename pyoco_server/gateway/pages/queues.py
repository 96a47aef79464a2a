"""The queues: what waits under each tag, for how long, and who serves it."""

from __future__ import annotations

import time

from flask import Blueprint, Response

from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import render
from pyoco_server.gateway.pages.marks import NO_WORKER
from pyoco_server.gateway.pages.pieces import piece
from pyoco_server.operations.attention import tag_views, worker_views
from pyoco_server.readmodel.reports import Reports

blueprint = Blueprint("queues_page", __name__)

_REFRESH_SEC = 5
_PAGE_ROWS = 50
#: Workers named for each tag.
_MAX_WORKERS = 5


@blueprint.get("/ui/queues")
def queues() -> Response:
    """Show the tags, those that nobody serves first."""
    now = time.time()
    reports = Reports(gateway().model, caller().tenant_id)
    timeout_sec = gateway().config.worker_disconnect_timeout_sec
    workers = worker_views(gateway().model.workers(), now=now, timeout_sec=timeout_sec)
    tags = tag_views(reports.waiting(), workers, reports.polled_tags(now))
    return render(
        "queues.html",
        refresh_sec=_REFRESH_SEC,
        piece=piece(tags, _PAGE_ROWS),
        waiting_count=sum(tag.waiting_count for tag in tags),
        stuck_count=sum(tag.is_stuck for tag in tags),
        no_worker=NO_WORKER,
        max_workers=_MAX_WORKERS,
    )
