"""What tasks print, marked with the task whose thread prints it, on its way to the worker.

Nothing waits in this process: whatever a task has printed before it dies has left.

Source: design, section 6; ``contract/output_marks.py``.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from pyoco_server.contract.output_marks import mark

_DESCRIPTORS = {"stdout": 1, "stderr": 2}


class TaskOutput:
    """Stands in for ``sys.stdout`` and ``sys.stderr`` for the life of the runner.

    Both go through descriptor 1, so that what Python prints keeps its order whichever of the two it is printed to.

    :param token: goes into the marks.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        # Duplicates, because a task may put something else in place of 1 and 2 for a while.
        self._fds = {stream: os.dup(fd) for stream, fd in _DESCRIPTORS.items()}
        # A finaliser that prints may run while its thread is writing.
        self._lock = threading.RLock()
        self._task_of_thread: dict[int, str] = {}
        #: Whose what carries no mark of its own is: what C code and other programs write.
        self._task_at_large: str | None = None
        self._is_forked = False

    def install(self, log_level: str) -> None:
        """Replace the two streams, and have what tasks log from ``log_level`` on printed to the second one."""
        sys.stdout = _TaskStream(self, "stdout")
        sys.stderr = _TaskStream(self, "stderr")
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logging.basicConfig(level=log_level, handlers=[handler])

    def run_begins(self) -> None:
        """Forget whose text comes next; the worker does the same when it sends a run."""
        with self._lock:
            self._task_at_large = None

    @contextlib.contextmanager
    def of_task(self, task: str) -> Iterator[None]:
        """Attribute to ``task`` what this thread prints, and while no other task runs also what has no mark."""
        ident = threading.get_ident()
        with self._lock:
            before = self._task_of_thread.get(ident)
            self._task_of_thread[ident] = task
            self._mark_rest()
        try:
            yield
        finally:
            with self._lock:
                if before is None:
                    del self._task_of_thread[ident]
                else:
                    self._task_of_thread[ident] = before
                self._mark_rest()

    def write(self, stream: str, data: bytes) -> None:
        """Pass on a piece of what this thread prints."""
        if self._is_forked:
            _write(_DESCRIPTORS[stream], data)
            return
        task = self._task_of_thread.get(threading.get_ident(), self._task_at_large)
        with self._lock:
            if stream != "stdout" or task != self._task_at_large:
                data = b"".join(
                    (mark(self._token, task, stream), data, mark(self._token, self._task_at_large, "stdout"))
                )
            _write(self._fds["stdout"], data)

    def forked(self) -> None:
        """Write without marks from now on: this process was forked, and may have got a held lock."""
        self._is_forked = True

    def _mark_rest(self) -> None:
        """Say whose what has no mark is; after the last task still that one's, whose threads may go on."""
        running = set(self._task_of_thread.values())
        if not running:
            return
        task = running.pop() if len(running) == 1 else None
        if task != self._task_at_large:
            self._task_at_large = task
            for stream, fd in self._fds.items():
                _write(fd, mark(self._token, task, stream))


class _TaskStream(io.TextIOBase):
    """A text stream that knows neither encoding errors nor a buffer of its own."""

    def __init__(self, output: TaskOutput, name: str) -> None:
        self._output = output
        self._name = name

    encoding = "utf-8"

    @property
    def name(self) -> str:
        return f"<{self._name}>"

    @property
    def buffer(self) -> io.RawIOBase:
        """Where programs that print bytes write."""
        return _TaskBytes(self._output, self._name)

    def reconfigure(self, **settings: object) -> None:
        """Accept what programs ask of a standard stream; every text can be written here anyway."""

    def fileno(self) -> int:
        return _DESCRIPTORS[self._name]

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        self._output.write(self._name, text.encode(errors="backslashreplace"))
        return len(text)


class _TaskBytes(io.RawIOBase):
    """The byte stream below a text stream."""

    def __init__(self, output: TaskOutput, name: str) -> None:
        self._output = output
        self._name = name

    def fileno(self) -> int:
        return _DESCRIPTORS[self._name]

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._output.write(self._name, bytes(data))
        return len(data)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
