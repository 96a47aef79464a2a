"""The lines that a worker and its runner exchange: one JSON object each, named by ``type``.

The worker writes :class:`Begin` and :class:`Cancel` to the runner's stdin; the end of that stream means that the
worker is gone. The runner writes :class:`Ready`, :class:`BootFailed`, :class:`Planned`, :class:`TaskChanged`,
:class:`Saved` and :class:`Ended` to a pipe of its own: 1 and 2 belong to the tasks (``output_marks.py``). One run at
a time; whatever stands between ``Begin`` and ``Ended`` belongs to that run.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: The folder in the run's own where its files are saved.
ARTIFACTS_FOLDER = "artifacts"
#: Exit status of a runner that cannot boot, as of a flow resolver that cannot be imported.
EXIT_BOOT_FAILED = 78
#: Exit status of a runner whose worker is gone.
EXIT_ORPHANED = 79
#: Exit status of a fork server that has more than one thread.
EXIT_HAS_THREADS = 80


@dataclass(frozen=True)
class Begin:
    """Execute this run.

    :param scratch: the run's own folder, which becomes the working directory; ``None`` where it has none of its own.
    :param value_limit_bytes: inputs and outputs that take more as JSON are cut: no snapshot could hold them.
    :param file_limit_bytes: a larger file would not be kept, so no output is written to one.
    :param finished: results of tasks that an earlier attempt has finished, by their names.
    """

    run_id: str
    flow_name: str
    params: dict[str, Any]
    workflow_yaml: str | None
    scratch: str | None
    value_limit_bytes: int
    file_limit_bytes: int
    finished: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cancel:
    """Stop the run at the next place where it can stop."""

    run_id: str


@dataclass(frozen=True)
class Ready:
    """The runner has booted and waits for a run.

    :param sources: files of code that it has imported, each with the time of its last change (ns since 1970).
    """

    pid: int
    sources: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BootFailed:
    """The runner cannot serve; it exits after this line."""

    error: str


@dataclass(frozen=True)
class Planned:
    """The flow was found; these are its tasks, none of which has begun.

    :param restored: those of them that are not executed again, because their results are known.
    :param note: why none is, where results were known.
    """

    tasks: list[str]
    restored: list[str] = field(default_factory=list)
    note: str | None = None


@dataclass(frozen=True)
class TaskChanged:
    """A task has a new state.

    :param record: its whole task record (contract 2).
    :param is_cut: whether a value in it was cut.
    :param is_output_itself: whether the output in it is the task's, and not a text about it.
    """

    name: str
    state: str
    record: dict[str, Any]
    is_cut: bool = False
    is_output_itself: bool = True


@dataclass(frozen=True)
class Saved:
    """A task has saved a file in the folder of the run's artifacts.

    :param task: ``None`` where it cannot be told.
    :param name: its path in that folder; whatever the task has made of it.
    :param type_name: of the value that was saved.
    :param is_output: whether it is the output of the task, which is too large for its record.
    """

    task: str | None
    name: str
    type_name: str | None = None
    is_output: bool = False


@dataclass(frozen=True)
class Ended:
    """The run has ended in the runner.

    :param status: COMPLETED, FAILED or CANCELLED.
    :param reason: of a failed run, its dead letter's reason.
    :param error: of a failed run, what is shown.
    :param is_reusable: whether the runner can take another run: nothing of this one is left in it.
    :param sources: further files of code that it has imported, as in :class:`Ready`.
    """

    status: str
    reason: str | None = None
    error: str | None = None
    tasks: dict[str, str] = field(default_factory=dict)
    is_reusable: bool = True
    sources: dict[str, int] = field(default_factory=dict)


Message: TypeAlias = Begin | Cancel | Ready | BootFailed | Planned | TaskChanged | Saved | Ended
_TYPES: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Begin, Cancel, Ready, BootFailed, Planned, TaskChanged, Saved, Ended)
}


def changed_at_ns(file: str) -> int | None:
    """Give the time of a file's last change, as ``sources`` has it; ``None`` where there is no such file."""
    try:
        return os.stat(file).st_mtime_ns
    except (OSError, ValueError):
        return None


def encode(message: Message) -> bytes:
    """Give the line of a message, with its newline."""
    # Not asdict(): it would copy parameters and results deeply.
    return json.dumps({"type": type(message).__name__, **vars(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read a line.

    :raises ValueError: not a message; the other side is not ours or was cut off in mid-line.
    """
    document = json.loads(line)
    try:
        kind = _TYPES[document.pop("type")]
        message: Message = kind(**document)
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError(f"not a message of the runner protocol: {line[:200]!r}") from exc
    return message
