"""Runs as a row of a table shows them.

Snapshots of other programs hold anything in fields that ours fill in one way, so everything is looked at before it is
shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyoco_server.contract.moments import is_moment
from pyoco_server.contract.names import MAX_NAME_CHARS
from pyoco_server.gateway.pages.marks import Mark, run_mark
from pyoco_server.states import RunStatus, TaskState

#: What a row shows of an error's first line.
_MAX_ERROR_CHARS = 200


@dataclass(frozen=True)
class RunRow:
    """One run in a list.

    :param began_at: when a worker began it, else when it was submitted or last changed; unix seconds.
    :param took_sec: until its end, or until now; ``None`` when nobody has begun it.
    :param error: the first line, cut.
    :param running_tasks: their names.
    """

    run_id: str
    flow_name: str
    tag: str
    status: str
    mark: Mark
    worker_id: str
    attempt: int
    began_at: Any
    took_sec: float | None
    error: str
    running_tasks: list[str]
    done_count: int
    task_count: int

    @property
    def can_be_cancelled(self) -> bool:
        return self.status in (RunStatus.PENDING.value, RunStatus.RUNNING.value)

    @property
    def can_be_rerun(self) -> bool:
        return RunStatus(self.status).is_terminal


def run_row(document: dict[str, Any], now: float) -> RunRow:
    """Make the row of a run from what lists have of it."""
    status = RunStatus(document["status"])
    tasks = document.get("tasks")
    tasks = tasks if isinstance(tasks, dict) else {}
    attempt = document.get("attempt")
    began_at = next(
        (document[name] for name in ("start_time", "submitted_at", "updated_at") if is_moment(document.get(name))), None
    )
    return RunRow(
        run_id=str(document["run_id"]),
        flow_name=name_of(document.get("flow_name")),
        tag=name_of(document.get("tag")),
        status=status.value,
        mark=run_mark(status),
        worker_id=name_of(document.get("worker_id")),
        attempt=attempt if isinstance(attempt, int) else 0,
        began_at=began_at,
        took_sec=took_sec(document, now),
        error=first_line(document.get("error")),
        running_tasks=[name_of(name) for name, state in tasks.items() if state == TaskState.RUNNING.value],
        done_count=sum(state == TaskState.SUCCEEDED.value for state in tasks.values()),
        task_count=len(tasks),
    )


def took_sec(document: dict[str, Any], now: float) -> float | None:
    """Give how long a run took, or takes so far; ``None`` when nobody has begun it."""
    start, end = document.get("start_time"), document.get("end_time")
    if not is_moment(start):
        return None
    if RunStatus(document["status"]).is_terminal:
        return max(0.0, end - start) if is_moment(end) else None
    return max(0.0, now - start)


def name_of(value: Any) -> str:
    """Give a name, as long as one may be: other programs store longer ones, which would fill the page."""
    return str(value or "")[:MAX_NAME_CHARS]


def first_line(error: Any) -> str:
    """Give the first line of an error, cut to what a row has room for."""
    lines = error.strip().splitlines() if isinstance(error, str) else []
    return lines[0][:_MAX_ERROR_CHARS] if lines else ""
