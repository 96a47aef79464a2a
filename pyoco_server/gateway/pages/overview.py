"""The first page: four counts, what needs somebody, what failed of late, what runs now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from pyoco_server.gateway.admission import caller, is_admitted
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.chart_svg import BASE_Y, hour_bars
from pyoco_server.gateway.pages.frame import render
from pyoco_server.gateway.pages.marks import LOST, NEARLY_FULL, NO_WORKER, OUT_OF_SYNC, OVERDUE
from pyoco_server.gateway.pages.rows import RunRow, first_line, name_of, run_row, took_sec
from pyoco_server.gateway.pages.session import sign_in_page
from pyoco_server.operations.attention import (
    TagView,
    WorkerView,
    is_overdue,
    lost_workers,
    out_of_sync,
    overdue_first,
    tag_views,
    worker_views,
)
from pyoco_server.readmodel.reports import USUAL_WINDOW_SEC, FailureGroup, Reports
from pyoco_server.states import RunStatus

blueprint = Blueprint("overview", __name__)

_DAY_SEC = 86_400.0
_REFRESH_SEC = 30
#: A beginner's page ticks off what is done, so it looks more often.
_EMPTY_REFRESH_SEC = 5
#: Rows of each part; what is left out is one link away.
_MAX_RUNNING, _MAX_SHOWN, _MAX_GROUPS, _MAX_TAGS = 200, 12, 8, 10
#: Of each kind of what needs somebody.
_MAX_NEEDS = 5


@dataclass(frozen=True)
class Working:
    """A run that goes on, beside its usual duration.

    :param fill: how far it is, in percent of the drawing; ``usual`` is where it usually ends.
    """

    row: RunRow
    usual_sec: float | None
    is_overdue: bool
    fill: float
    usual: float | None


@dataclass(frozen=True)
class _Held:
    """What decides which of the runs that go on are shown."""

    document: dict[str, Any]
    flow_name: str
    took_sec: float | None

    @classmethod
    def of(cls, document: dict[str, Any], now: float) -> _Held:
        return cls(document, name_of(document.get("flow_name")), took_sec(document, now))


@blueprint.get("/")
def overview() -> Response:
    """Show how everything is; who has not signed in sees nothing of it."""
    config = gateway().config
    if not is_admitted():
        return sign_in_page()
    now = time.time()
    reports = Reports(gateway().model, caller().tenant_id)
    counts = reports.counts()
    workers = worker_views(gateway().model.workers(), now=now, timeout_sec=config.worker_disconnect_timeout_sec)
    if not counts:
        return _empty(workers)
    held = [_Held.of(document, now) for document in reports.at_work(_MAX_RUNNING)]
    usual = reports.usual_durations([run.flow_name for run in held], now - USUAL_WINDOW_SEC)
    held = overdue_first(held, usual)
    overdue_count = sum(is_overdue(run.took_sec, usual.get(run.flow_name)) for run in held)
    working = [_working(run_row(run.document, now), usual.get(run.flow_name)) for run in held[:_MAX_SHOWN]]
    tags = tag_views(reports.waiting(), workers, reports.polled_tags(now))
    stuck = [tag for tag in tags if tag.is_stuck]
    lost = lost_workers(workers)
    unsynced = out_of_sync(workers)
    full = gateway().storage.full
    hour = int(now // 3600)
    bars = hour_bars(reports.ended_by_hour(hour - 23), hour)
    return render(
        "overview.html",
        refresh_sec=_REFRESH_SEC,
        counts={status.value: counts.get(status.value, 0) for status in RunStatus},
        failed_count=reports.ended_since(RunStatus.FAILED.value, now - _DAY_SEC),
        completed_count=reports.ended_since(RunStatus.COMPLETED.value, now - _DAY_SEC),
        letter_count=gateway().dead_letters.count(caller()),
        oldest=min((tag for tag in tags if tag.oldest_at), key=_oldest, default=None),
        busy_count=sum(worker.busy_count for worker in workers),
        slot_count=sum(worker.slot_count for worker in workers),
        stuck=stuck,
        lost=lost,
        unsynced=[(view, first_line(view.wheel_sync_error)) for view in unsynced],
        full=full,
        # They stand first.
        overdue=[run for run in working[:_MAX_NEEDS] if run.is_overdue],
        overdue_count=overdue_count,
        max_needs=_MAX_NEEDS,
        need_count=len(stuck) + len(lost) + len(full) + len(unsynced) + overdue_count,
        marks={"stuck": NO_WORKER, "lost": LOST, "full": NEARLY_FULL, "unsynced": OUT_OF_SYNC, "overdue": OVERDUE},
        groups=[_group(group) for group in reports.failures(now - _DAY_SEC, _MAX_GROUPS)],
        working=working,
        tags=tags[:_MAX_TAGS],
        bars=bars,
        base_y=BASE_Y,
        ended_count=sum(bar.completed + bar.failed for bar in bars),
    )


def _empty(workers: list[WorkerView]) -> Response:
    return render(
        "overview_empty.html",
        refresh_sec=_EMPTY_REFRESH_SEC,
        has_worker=any(worker.is_alive for worker in workers),
        host_url=request.host_url,
    )


def _oldest(tag: TagView) -> float:
    return tag.oldest_at or 0.0


def _working(row: RunRow, usual_sec: float | None) -> Working:
    took = row.took_sec or 0.0
    whole = max(took, 2 * usual_sec) if usual_sec else took
    return Working(
        row=row,
        usual_sec=usual_sec,
        is_overdue=is_overdue(row.took_sec, usual_sec),
        fill=round(100 * took / whole, 1) if usual_sec and whole else 0.0,
        usual=round(100 * usual_sec / whole, 1) if usual_sec and whole else None,
    )


def _group(group: FailureGroup) -> dict[str, Any]:
    return {
        "failure": group.failure,
        "run_count": group.run_count,
        "last_at": group.last_at,
        "error": first_line(group.newest.get("error")),
        "flow_name": name_of(group.newest.get("flow_name")),
        "run_id": str(group.newest["run_id"]),
    }
