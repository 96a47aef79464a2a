"""States as the pages show them: always a word, a shape and a colour."""

from __future__ import annotations

from dataclasses import dataclass

from pyoco_server.contract import deadletters
from pyoco_server.states import RunStatus, TaskState, WorkerState


@dataclass(frozen=True)
class Mark:
    """How a state looks.

    :param kind: names the shape (``g-<kind>`` of the sprite) and the colour (class ``is-<kind>``).
    :param word: key of its word.
    """

    kind: str
    word: str


_RUNS = {
    RunStatus.PENDING: Mark("pending", "state.waiting"),
    RunStatus.RUNNING: Mark("running", "state.running"),
    RunStatus.CANCELLING: Mark("cancelling", "state.cancelling"),
    RunStatus.FAILED: Mark("failed", "state.failed"),
    RunStatus.CANCELLED: Mark("cancelled", "state.cancelled"),
    RunStatus.COMPLETED: Mark("completed", "state.completed"),
}
_TASKS = {
    TaskState.PENDING: Mark("pending", "state.waiting"),
    TaskState.RUNNING: Mark("running", "state.running"),
    TaskState.SUCCEEDED: Mark("completed", "state.succeeded"),
    TaskState.FAILED: Mark("failed", "state.failed"),
    TaskState.CANCELLED: Mark("cancelled", "state.cancelled"),
}
_WORKERS = {
    WorkerState.RUNNING: Mark("running", "state.running"),
    WorkerState.IDLE: Mark("idle", "state.idle"),
    WorkerState.STOPPED_GRACEFUL: Mark("stopped", "state.stopped"),
    WorkerState.DISCONNECTED: Mark("lost", "state.lost"),
}

NO_WORKER = Mark("failed", "state.no_worker")
LOST = _WORKERS[WorkerState.DISCONNECTED]
OVERDUE = Mark("warning", "state.overdue")
NEARLY_FULL = Mark("warning", "state.nearly_full")
OUT_OF_SYNC = Mark("warning", "state.out_of_sync")
DRAINING = Mark("stopped", "state.draining")
_SYNCED = Mark("completed", "state.in_sync")
_NOT_SYNCED_YET = Mark("idle", "state.not_synced_yet")
NOT_STARTED = Mark("pending", "state.not_started")


_LETTERS = {
    deadletters.EXECUTION_ERROR: Mark("failed", "letters.execution_error"),
    deadletters.FLOW_NOT_FOUND: Mark("failed", "letters.flow_not_found"),
    deadletters.TIMEOUT: Mark("warning", "letters.timeout"),
    deadletters.WORKER_PROCESS_DIED: Mark("lost", "letters.worker_process_died"),
    deadletters.MAX_DELIVERIES: Mark("warning", "letters.max_deliveries"),
    deadletters.INVALID_JOB: Mark("failed", "letters.invalid_job"),
}
_OTHER_LETTER = Mark("failed", "letters.other")


def run_mark(status: str) -> Mark:
    return _RUNS[RunStatus(status)]


def run_marks() -> dict[str, Mark]:
    """Give the marks of all states of a run, in the order in which a filter offers them."""
    return {status.value: mark for status, mark in _RUNS.items()}


def task_mark(state: object, *, has_run_ended: bool) -> Mark:
    """Give the mark of a task; one that waits when its run has ended never started.

    :param state: as it is stored; other programs may have stored anything.
    """
    try:
        known = TaskState(state)
    except ValueError:
        known = TaskState.PENDING
    return NOT_STARTED if known is TaskState.PENDING and has_run_ended else _TASKS[known]


def letter_marks() -> dict[str, Mark]:
    """Give the marks of the reasons of dead letters, in the order in which a filter offers them."""
    return _LETTERS


def letter_mark(reason: str) -> Mark:
    """Give the mark of a reason; other versions may have others."""
    return _LETTERS.get(reason, _OTHER_LETTER)


def worker_mark(state: WorkerState) -> Mark:
    return _WORKERS[state]


def sync_mark(result: object) -> Mark:
    """Give the mark of a worker's last try to sync its wheels.

    :param result: as it is stored; other programs may have stored anything.
    """
    if result == "error":
        return OUT_OF_SYNC
    return _SYNCED if result == "ok" else _NOT_SYNCED_YET
