"""What tasks print, attributed to the task whose thread prints it, line by line while it is printed.

Source: design, section 6.
"""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Callable, Iterator

#: A line that does not end is passed on when it has grown to this size.
_LINE_LIMIT_CHARS = 8_192


class TaskOutput:
    """Stands in for ``sys.stdout`` and ``sys.stderr`` for the life of the runner.

    :param emit: takes task (``None`` = not known), stream name and text.
    """

    def __init__(self, emit: Callable[[str | None, str, str], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._task_of_thread: dict[int, str] = {}
        self._pending: dict[tuple[str | None, str], str] = {}

    def install(self) -> None:
        """Replace the two streams; what C code and subprocesses write still goes to the descriptors."""
        sys.stdout = _TaskStream(self, "stdout", 1)
        sys.stderr = _TaskStream(self, "stderr", 2)

    @contextlib.contextmanager
    def of_task(self, task: str) -> Iterator[None]:
        """Attribute what this thread prints to ``task``."""
        ident = threading.get_ident()
        with self._lock:
            before = self._task_of_thread.get(ident)
            self._task_of_thread[ident] = task
        try:
            yield
        finally:
            self.flush(task)
            with self._lock:
                if before is None:
                    del self._task_of_thread[ident]
                else:
                    self._task_of_thread[ident] = before

    def write(self, stream: str, text: str) -> None:
        """Take a piece of text; whole lines are passed on at once."""
        with self._lock:
            key = (self._current_task(), stream)
            text = self._pending.pop(key, "") + text
            end = len(text) if len(text) > _LINE_LIMIT_CHARS else text.rfind("\n") + 1
            if end < len(text):
                self._pending[key] = text[end:]
        if end:
            self._emit(key[0], stream, text[:end])

    def flush(self, task: str | None) -> None:
        """Pass on lines that were begun and not ended."""
        with self._lock:
            keys = [key for key in self._pending if key[0] == task]
            found = [(key, self._pending.pop(key)) for key in keys]
        for (owner, stream), text in found:
            self._emit(owner, stream, text)

    def _current_task(self) -> str | None:
        task = self._task_of_thread.get(threading.get_ident())
        if task is not None:
            return task
        # A thread that a task has started: attributable while only one task runs.
        running = set(self._task_of_thread.values())
        return running.pop() if len(running) == 1 else None


class _TaskStream(io.TextIOBase):
    """A text stream that knows neither encoding errors nor a buffer of its own."""

    def __init__(self, output: TaskOutput, name: str, descriptor: int) -> None:
        self._output = output
        self._name = name
        self._descriptor = descriptor

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """Where programs that print bytes write: the descriptor itself."""
        standard = sys.__stdout__ if self._descriptor == 1 else sys.__stderr__
        return standard.buffer  # type: ignore[union-attr, return-value]

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        self._output.write(self._name, text)
        return len(text)
