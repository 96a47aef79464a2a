"""The files of a run: what tasks save with ``ctx.save_artifact``, and outputs that are too large for a record.

The worker keeps them (:mod:`pyoco_server.worker.artifacts`); the runner talks to nobody else.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from pyoco.core.context import Context

from pyoco_server.contract.artifacts import output_name
from pyoco_server.contract.runner_protocol import ARTIFACTS_FOLDER, Saved


class RunFiles:
    """The folder of a run's artifacts.

    :param scratch: the run's own folder.
    :param file_limit_bytes: no larger file would be kept.
    :param report: takes what is saved, from the thread in which it happens.
    """

    def __init__(self, scratch: str, file_limit_bytes: int, report: Callable[[Saved], None]) -> None:
        self._folder = os.path.join(scratch, ARTIFACTS_FOLDER)
        self._limit_bytes = file_limit_bytes
        self._report = report
        #: Files and folders that were made here, and not by a task.
        self.made: set[str] = set()

    def observe(self, ctx: Context, current_task: Callable[[], str | None]) -> None:
        """Hear of what is saved, also by a task that works in another folder."""
        ctx.artifact_dir = self._folder

        def saved(entry: Any) -> None:
            # A task may put there what it likes.
            if isinstance(entry, dict) and isinstance(entry.get("path"), str):
                name = os.path.relpath(entry["path"], self._folder)
                self._report(Saved(current_task(), name, str(entry.get("type"))))

        ctx.artifacts = _Observed(saved)

    def keep_output(self, task: str, value: Any) -> None:
        """Write the output of a task, which is too large for its record, to a file: where it is text, bytes or JSON."""
        whole = _whole(value)
        if whole is None:
            return
        ending, data = whole
        name = output_name(task, ending)
        if len(data) > self._limit_bytes:
            limit = f"{self._limit_bytes} are the most (PYOCO_ARTIFACT_MAX_BYTES)"
            _complain(f"the output of {task} is not kept as a whole: it has {len(data)} bytes, and {limit}")
            return
        try:
            self._write(name, data)
        except OSError as exc:
            _complain(f"the output of {task} is not kept as a whole: {exc}")
            return
        self._report(Saved(task, name, type(value).__name__, is_output=True))

    def _write(self, name: str, data: bytes) -> None:
        path = os.path.join(self._folder, name)
        folder = os.path.dirname(path)
        if path in self.made:
            # Of the same task in an earlier turn of a loop.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        # Before they are there: a task that ends beside this one looks at what lies here.
        self.made.update((folder, path))
        os.makedirs(folder, exist_ok=True)
        try:
            file = open(path, "xb")
        except FileExistsError:
            # The task itself has saved it.
            self.made.discard(path)
            raise
        with file:
            file.write(data)


class _Observed(dict[str, Any]):
    """What pyoco notes of each file that was saved, under its name."""

    def __init__(self, saved: Callable[[Any], None]) -> None:
        super().__init__()
        self._saved = saved

    def __setitem__(self, name: str, entry: Any) -> None:
        super().__setitem__(name, entry)
        self._saved(entry)


def _complain(text: str) -> None:
    """Say something in the log of the run, as if the task had; it is its thread that comes here."""
    print(text, file=sys.stderr)


def _whole(value: Any) -> tuple[str, bytes] | None:
    """Give the bytes of a value and the ending of a file for them; ``None`` for what has no such form."""
    if type(value) in (bytes, bytearray):
        return "bin", bytes(value)
    if type(value) is str:
        return "txt", value.encode(errors="backslashreplace")
    try:
        return "json", json.dumps(value, allow_nan=False).encode()
    except BaseException:
        # Its methods are the task's.
        return None
