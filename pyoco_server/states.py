"""The states of runs, tasks and workers, which of them are final, and which may follow which.

Source: contract, section 1.
"""

from __future__ import annotations

from enum import Enum


class RunStatus(str, Enum):
    """State of one execution of a flow."""

    PENDING = "PENDING"  #: stored and queued; nobody has begun it
    RUNNING = "RUNNING"  #: a worker holds it
    CANCELLING = "CANCELLING"  #: somebody asked for its end
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    def __str__(self) -> str:
        return self.value

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


#: Nothing changes a run in one of these.
TERMINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})

#: What may follow what. RUNNING -> RUNNING is a take-over by another worker.
TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.CANCELLING, RunStatus.CANCELLED, RunStatus.FAILED}),
    RunStatus.RUNNING: frozenset(
        {
            RunStatus.RUNNING,
            RunStatus.PENDING,
            RunStatus.COMPLETED,
            RunStatus.FAILED,
            RunStatus.CANCELLING,
            RunStatus.CANCELLED,
        }
    ),
    RunStatus.CANCELLING: frozenset({RunStatus.CANCELLING, RunStatus.CANCELLED, RunStatus.COMPLETED, RunStatus.FAILED}),
    RunStatus.COMPLETED: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.CANCELLED: frozenset(),
}


class TaskState(str, Enum):
    """State of one task of a run; the names are pyoco's."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    def __str__(self) -> str:
        return self.value


class WorkerState(str, Enum):
    """State of a worker, as stored; ``DISCONNECTED`` is never stored, a reader derives it."""

    RUNNING = "RUNNING"
    IDLE = "IDLE"
    STOPPED_GRACEFUL = "STOPPED_GRACEFUL"
    DISCONNECTED = "DISCONNECTED"

    def __str__(self) -> str:
        return self.value
