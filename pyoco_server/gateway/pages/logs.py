"""What a run has printed: the last lines on its page, and a page of their own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Annotated

from flask import Blueprint, Response, request
from markupsafe import escape
from pydantic import Field

from pyoco_server.contract.log_entries import LogLine, harmless, lines_of
from pyoco_server.contract.moments import is_moment
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import InvalidListQuery, PyocoServerError
from pyoco_server.gateway.context import gateway, take_room
from pyoco_server.gateway.inputs import Input
from pyoco_server.gateway.pages.frame import here, render
from pyoco_server.gateway.pages.marks import run_mark
from pyoco_server.gateway.queries import read_query
from pyoco_server.gateway.texts import Integer

blueprint = Blueprint("logs_page", __name__)

_LIVE_REFRESH_SEC = 5
#: How many of the last lines a page offers to show, and how many it shows unless it is asked.
_TAILS, _USUAL_TAIL = (100, 300, 1000), 300
#: Lines and bytes of them on the page of a run, and bytes on their own.
_RUN_PAGE_LINES, _RUN_PAGE_BYTES = 100, 20_000
_PAGE_BYTES = 80_000
#: What a page shows of one line, and what its marks take beside its texts.
_MAX_LINE_CHARS, _LINE_BYTES = 2_000, 170
#: How many tasks the page offers to filter by.
_MAX_TASKS = 40


class LogPageQuery(Input):
    """Query of ``GET /ui/runs/{run_id}/logs``."""

    refusal = InvalidListQuery

    task: str = ""
    tail: Annotated[int, Field(ge=1, le=_TAILS[-1]), Integer] = _USUAL_TAIL


@dataclass(frozen=True)
class LogView:
    """The last lines of a log.

    :param is_cut: whether there are older ones, or more of a line, than are shown.
    :param why: key of the text that says why there are none in the log; empty where there are some.
    """

    lines: list[LogLine]
    is_cut: bool = False
    why: str = ""


@blueprint.get("/ui/runs/<run_id>/logs")
def logs(run_id: str) -> Response:
    """Show what a run has printed."""
    query = read_query(LogPageQuery, request.args)
    # Before its lines: a run that has ended is shown with all of them.
    run = gateway().runs.get(run_id).snapshot
    return render(
        "logs.html",
        refresh_sec=None if run.status.is_terminal else _LIVE_REFRESH_SEC,
        run=run,
        mark=run_mark(run.status),
        log=_view(run, query.task, query.tail, _PAGE_BYTES),
        task=query.task,
        every_task=here(task=None),
        tasks=[(name, harmless(name), here(task=name)) for name in _offered(list(map(str, run.tasks)), query.task)],
        tail=query.tail,
        tails={count: here(tail=count) for count in _TAILS},
    )


def log_of_run(run: Snapshot, task: str) -> LogView:
    """Give what the page of a run shows of its log; that NATS does not give it is no reason to show nothing else.

    :param task: of this task alone; of all where it is empty.
    """
    try:
        return _view(run, task, _RUN_PAGE_LINES, _RUN_PAGE_BYTES, budget_sec=0)
    except PyocoServerError:
        return _without_log(run, task, "logs.away")


def _view(run: Snapshot, task: str, count: int, max_bytes: int, *, budget_sec: float | None = None) -> LogView:
    # One more than is shown says whether there are more.
    found = gateway().logs.read(run.run_id, task=task, count=count + 1, budget_sec=budget_sec, take_room=take_room)
    lines = [line for entry in found.entries for line in lines_of(entry.fields)]
    if not lines:
        return _without_log(run, task, _why_empty(run, task))
    kept: deque[LogLine] = deque()
    is_cut = found.is_cut
    size = 0
    for line in reversed(lines):
        shown = line if len(line.text) <= _MAX_LINE_CHARS else replace(line, text=f"{line.text[:_MAX_LINE_CHARS]}…")
        size += _LINE_BYTES + sum(len(str(escape(text)).encode()) for text in (shown.task, shown.stream, shown.text))
        if kept and (len(kept) == count or size > max_bytes):
            is_cut = True
            break
        is_cut = is_cut or shown is not line
        kept.appendleft(shown)
    return LogView(list(kept), is_cut)


def _without_log(run: Snapshot, task: str, why: str) -> LogView:
    """Give what the snapshot of a failed run has of its last lines, where the log itself has none."""
    text = run.last_lines
    if task or not text or not isinstance(text, str):
        return LogView([], why=why)
    return LogView(list(lines_of({"text": text})), why=why)


def _why_empty(run: Snapshot, task: str) -> str:
    """Say why there are no lines."""
    if task:
        return "logs.none_of_task"
    if not run.status.is_terminal:
        return "logs.none_yet"
    ended_at = next(filter(is_moment, (run.end_time, run.updated_at)), None)
    is_kept = ended_at is None or ended_at >= gateway().logs.kept_since()
    return "logs.none" if is_kept else "logs.expired"


def _offered(tasks: list[str], chosen: str) -> list[str]:
    """Give the tasks to filter by, the chosen one among them."""
    offered = tasks[:_MAX_TASKS]
    return [*offered, chosen] if chosen and chosen not in offered else offered
