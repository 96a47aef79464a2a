"""Views of a run for readers: pure functions of a snapshot's JSON object.

Source: contract, section 3, rows ``GET /runs``, ``GET /runs/{run_id}`` and ``/tasks``.
"""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from pyoco_server.contract.workers import WorkerRecord, effective_state

#: What a list shows of a run; the last three are ours.
SUMMARY_FIELDS = (
    "run_id",
    "flow_name",
    "tag",
    "tags",
    "tenant_id",
    "api_key_id",
    "status",
    "updated_at",
    "heartbeat_at",
    "worker_id",
    "error",
    "start_time",
    "end_time",
    "attempt",
)


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of a list; those that a run lacks are null."""
    return {name: document.get(name) for name in SUMMARY_FIELDS}


def without_records(document: dict[str, Any]) -> dict[str, Any]:
    """Give the snapshot as it is answered where records were not asked for."""
    small = dict(document)
    small.pop("task_records", None)
    return small


class TasksView(TypedDict):
    """The tasks of a run."""

    run_id: str
    flow_name: str
    status: str
    tasks: dict[str, str]
    task_records: dict[str, Any]
    task_records_truncated: bool


def tasks_view(document: dict[str, Any]) -> TasksView:
    """Give the answer of ``/runs/{run_id}/tasks``."""
    return {
        "run_id": document["run_id"],
        "flow_name": document["flow_name"],
        "status": document["status"],
        "tasks": document.get("tasks") or {},
        "task_records": document.get("task_records") or {},
        "task_records_truncated": bool(document.get("task_records_truncated")),
    }


def worker_entry(worker: WorkerRecord, *, now: float, timeout_sec: float) -> dict[str, Any]:
    """Give a worker as the list of workers shows it: its record, with the state that a reader derives."""
    state = effective_state(worker.state, worker.last_seen_at, now, timeout_sec)
    return {**worker.to_document(), "state": state.value}


def worker_view(worker: WorkerRecord, *, now: float, timeout_sec: float) -> dict[str, Any]:
    """Give what a run's answer says of the worker that holds or held it."""
    return {
        "worker_alive": worker.is_live(now, timeout_sec),
        "worker_state": effective_state(worker.state, worker.last_seen_at, now, timeout_sec).value,
        "worker_heartbeat_at": worker.last_seen_at,
        "worker_hidden": worker.hidden,
        "worker_tags": worker.tags,
    }
