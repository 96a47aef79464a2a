"""What tasks print, attributed to the task whose thread prints it, line by line while it is printed.

Source: design, section 6.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

#: A line that does not end is passed on when it has grown to this size.
_LINE_LIMIT_CHARS = 8_192
#: How much is passed on at once.
_PIECE_CHARS = 65_536
_DESCRIPTORS = {"stdout": 1, "stderr": 2}


class TaskOutput:
    """Stands in for ``sys.stdout`` and ``sys.stderr`` for the life of the runner.

    :param emit: takes task (``None`` = not known), stream name and text.
    """

    def __init__(self, emit: Callable[[str | None, str, str], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._task_of_thread: dict[int, str] = {}
        self._pending: dict[tuple[str | None, str], str] = {}
        self._is_forked = False

    def install(self) -> None:
        """Replace the two streams; what C code and subprocesses write still goes to the descriptors."""
        sys.stdout = _TaskStream(self, "stdout")
        sys.stderr = _TaskStream(self, "stderr")

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
        if self._is_forked:
            os.write(_DESCRIPTORS[stream], text.encode(errors="replace"))
            return
        with self._lock:
            key = (self._current_task(), stream)
            text = self._pending.pop(key, "") + text
            end = len(text) if len(text) > _LINE_LIMIT_CHARS else text.rfind("\n") + 1
            if end < len(text):
                self._pending[key] = text[end:]
        # In pieces: a line to the worker must not be as long as what a task prints at once.
        for begin in range(0, end, _PIECE_CHARS):
            self._emit(key[0], stream, text[begin : min(end, begin + _PIECE_CHARS)])

    def forked(self) -> None:
        """Write straight to the descriptors from now on: this process was forked, and may have got a held lock."""
        self._is_forked = True
        self.install()

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
        self._output.write(self._name, text)
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
        self._output.write(self._name, bytes(data).decode(errors="replace"))
        return len(data)
