"""One run: what it is, why it failed, its flow as a graph, its tasks over time, its values."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from itertools import islice
from typing import Any

from flask import Blueprint, Response, request
from markupsafe import Markup

from pyoco_server.contract.moments import is_moment
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import InvalidInput
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import page_words, render
from pyoco_server.gateway.pages.graph_svg import draw
from pyoco_server.gateway.pages.i18n import Words
from pyoco_server.gateway.pages.logs import log_of_run
from pyoco_server.gateway.pages.marks import run_mark
from pyoco_server.gateway.pages.rerun import form_key
from pyoco_server.gateway.pages.rows import first_line, name_of, took_sec
from pyoco_server.gateway.pages.run_files import file_list
from pyoco_server.gateway.pages.run_wheels import wheel_views
from pyoco_server.gateway.pages.tasks import TaskView, short_json, task_views
from pyoco_server.gateway.pages.timeline_svg import Bar, Timeline, scale
from pyoco_server.gateway.pages.times import duration
from pyoco_server.readmodel.reports import USUAL_WINDOW_SEC, Reports
from pyoco_server.states import RunStatus
from pyoco_server.workflow.flow_yaml import Workflow, parse_workflow
from pyoco_server.workflow.graph_edges import edges_of

blueprint = Blueprint("run_page", __name__)

_LIVE_REFRESH_SEC = 5
#: Rows of tables, by what they name; what is left out is said.
_MAX_OUTPUTS, _MAX_PARAMS, _MAX_WHEELS = 25, 40, 40
#: The keys of what the heading says of a run in each state.
_HEADINGS = {
    RunStatus.PENDING: "run.is_waiting",
    RunStatus.RUNNING: "run.is_running",
    RunStatus.CANCELLING: "run.is_cancelling",
    RunStatus.COMPLETED: "run.has_completed",
    RunStatus.FAILED: "run.has_failed",
    RunStatus.CANCELLED: "run.was_cancelled",
}


@dataclass(frozen=True)
class Failure:
    """How an earlier attempt of the run has failed.

    :param error: its first line.
    """

    attempt: str
    ended_at: Any
    worker_id: str
    error: str


@blueprint.get("/ui/runs/<run_id>")
def run(run_id: str) -> Response:
    """Show a run, from the store itself."""
    now = time.time()
    snapshot = gateway().runs.get(run_id).snapshot
    document = snapshot.to_document()
    workflow = _workflow(snapshot)
    tasks = task_views(snapshot, workflow.checked_graph.nodes if workflow else ())
    usual = Reports(gateway().model, caller().tenant_id).usual_durations([snapshot.flow_name], now - USUAL_WINDOW_SEC)
    took = took_sec(document, now)
    by_name = {task.name: task for task in tasks}
    failed = next((task for task in tasks if task.error), None)
    chosen = by_name.get(request.args.get("task", ""))
    ordered = sorted(tasks, key=lambda task: (task.began_at is None, task.began_at or 0.0))
    return render(
        "run.html",
        refresh_sec=None if snapshot.status.is_terminal else _LIVE_REFRESH_SEC,
        title=_title(page_words(), snapshot, tasks, took),
        run=snapshot,
        mark=run_mark(snapshot.status),
        is_terminal=snapshot.status.is_terminal,
        submitted_at=next(filter(is_moment, (snapshot.submitted_at, snapshot.start_time, snapshot.updated_at)), None),
        took_sec=took,
        usual_sec=usual.get(snapshot.flow_name),
        error=snapshot.error if isinstance(snapshot.error, str) else "",
        failed=failed,
        tasks=by_name,
        once=form_key(),
        failures=_failures(snapshot),
        counts=_counts(tasks),
        drawing=draw(list(by_name), _edges(workflow, by_name)) if workflow else None,
        warnings=workflow.warnings if workflow else (),
        ordered=ordered,
        max_outputs=_MAX_OUTPUTS,
        files=file_list(snapshot),
        wheels=wheel_views(snapshot),
        max_wheels=_MAX_WHEELS,
        timeline=_timeline(snapshot, ordered, now, usual.get(snapshot.flow_name)),
        chosen=chosen,
        log=log_of_run(snapshot, chosen.name if chosen else ""),
        params={name_of(name): short_json(value) for name, value in islice(snapshot.params.items(), _MAX_PARAMS)},
        left_out_params_count=len(snapshot.params) - _MAX_PARAMS,
        curl=f"curl {shlex.quote(request.host_url + f'runs/{run_id}?include=records')}",
    )


def _workflow(snapshot: Snapshot) -> Workflow | None:
    """Give the run's flow.yaml, checked; ``None`` when it has none, or none that can be read any more."""
    text = gateway().workflows.get(snapshot.workflow_yaml_sha256) if snapshot.workflow_yaml_sha256 else None
    if text is None:
        return None
    try:
        return parse_workflow(text)
    except InvalidInput:
        # Accepted by another version's rules; the run is shown without its graph.
        return None


def _edges(workflow: Workflow, known: dict[str, TaskView]) -> list[tuple[str, str]]:
    return [edge for edge in edges_of(workflow) if edge[0] in known and edge[1] in known]


def _title(text: Words, snapshot: Snapshot, tasks: list[TaskView], took: float | None) -> Markup:
    """Say in a sentence how the run is."""
    failed = next((task.name for task in tasks if task.mark.kind == "failed"), None)
    working = next((task.name for task in tasks if task.is_running), None)
    if snapshot.status is RunStatus.FAILED and failed is not None:
        return text("run.has_failed_in", flow=snapshot.flow_name, task=failed)
    if snapshot.status is RunStatus.RUNNING and working is not None:
        done = sum(task.mark.kind == "completed" for task in tasks)
        return text("run.is_in_task", flow=snapshot.flow_name, task=working, done=done, count=len(tasks))
    if snapshot.status is RunStatus.COMPLETED and took is not None:
        return text("run.has_completed_in", flow=snapshot.flow_name, took=duration(text, took))
    if snapshot.waits_for_retry:
        return text("run.waits_for_retry", flow=snapshot.flow_name)
    return text(_HEADINGS[snapshot.status], flow=snapshot.flow_name, tag=snapshot.tag)


def _failures(snapshot: Snapshot) -> list[Failure]:
    """Give the failures of earlier attempts, oldest first; other programs may have stored anything."""
    return [
        Failure(name_of(item.get("attempt")), item.get("ended_at"), name_of(item.get("worker_id")), error)
        for item in snapshot.errors
        if isinstance(item, dict) and (error := first_line(item.get("error")))
    ]


def _counts(tasks: list[TaskView]) -> dict[str, int]:
    """Count the tasks by the word of their state."""
    counts: dict[str, int] = {}
    for task in tasks:
        counts[task.mark.word] = counts.get(task.mark.word, 0) + 1
    return counts


def _timeline(snapshot: Snapshot, tasks: list[TaskView], now: float, usual_sec: float | None) -> Timeline | None:
    """Lay out the tasks of a run that has begun."""
    begin: Any = snapshot.start_time
    end: Any = snapshot.end_time
    if not is_moment(begin) or not any(task.began_at for task in tasks):
        return None
    # The clock of a worker may be off a little: nothing begins before its run.
    begin = min([begin, *(task.began_at for task in tasks if task.began_at)])
    is_over = snapshot.status.is_terminal and is_moment(end)
    return scale(
        [Bar(task.began_at, None if task.is_running else task.ended_at) for task in tasks],
        begin_at=begin,
        end_at=end if is_over else None,
        now=max(now, begin),
        usual_sec=usual_sec,
    )
