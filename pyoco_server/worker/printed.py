"""What comes out of a runner's descriptors 1 and 2, put together to lines with the tasks that printed them."""

from __future__ import annotations

import codecs
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyoco_server.contract.output_marks import MarkReader

logger = logging.getLogger("pyoco_server.output")

#: A line that does not end is passed on when it has grown to this size, or so long after it began.
_LINE_LIMIT_BYTES = 8_192
_LINE_LIMIT_SEC = 1.0


@dataclass(frozen=True)
class Printed:
    """Some of what a task printed: whole lines, or what there is of one that does not end.

    :param task: ``None`` where it cannot be attributed to one.
    :param stream: ``stdout`` or ``stderr``.
    :param text: bytes that are not UTF-8 stand in it as ``\\xff``.
    """

    task: str | None
    stream: str
    text: str


class PrintedReader:
    """Reads one of the two descriptors.

    :param stream: which of them this is.
    :param token: of the marks in it.
    """

    def __init__(self, stream: str, token: str) -> None:
        self._stream = stream
        self._marks = MarkReader(token)
        self._source: tuple[str | None, str] = (None, stream)
        #: The lines that have not ended, and when they began.
        self._begun: dict[tuple[str | None, str], tuple[bytes, float]] = {}

    def run_begins(self) -> None:
        """Forget who printed last; the runner does the same when it is given a run."""
        self._source = (None, self._stream)

    def read(self, data: bytes) -> Iterator[Printed]:
        """Read a piece; an empty one is the end of the stream."""
        for item in self._marks.read(data):
            if isinstance(item, tuple):
                self._source = item
            else:
                yield from self._lines(item)
        if not data:
            yield from self.rest()

    def rest(self) -> Iterator[Printed]:
        """Give the lines that were begun and have not ended."""
        for (task, stream), (text, _) in self._begun.items():
            yield Printed(task, stream, _decoded(text))
        self._begun.clear()

    def waiting(self) -> Iterator[Printed]:
        """Give those of them that have been waiting for their end for long."""
        if not self._begun:
            return
        now = time.monotonic()
        due = now - _LINE_LIMIT_SEC
        for source in [source for source, (_, begun_at) in self._begun.items() if begun_at <= due]:
            text, _ = self._begun.pop(source)
            end = _whole_bytes(text)
            if end < len(text):
                self._begun[source] = (text[end:], now)
            if end:
                yield Printed(*source, _decoded(text[:end]))

    def _lines(self, data: bytes) -> Iterator[Printed]:
        begun, begun_at = self._begun.pop(self._source, (b"", time.monotonic()))
        text = begun + data
        end = text.rfind(b"\n") + 1
        if len(text) - end > _LINE_LIMIT_BYTES:
            end += _whole_bytes(text[end:])
        if end < len(text):
            self._begun[self._source] = (text[end:], time.monotonic() if end else begun_at)
        if end:
            yield Printed(*self._source, _decoded(text[:end]))


def _whole_bytes(text: bytes) -> int:
    """Count the bytes up to the last character, where that may still go on."""
    return codecs.utf_8_decode(text, "backslashreplace", False)[1]


def _decoded(text: bytes) -> str:
    return text.decode(errors="backslashreplace")


def log_printed(lines: Iterable[str], context: dict[str, Any]) -> None:
    """Write what a runner printed to the worker's own log.

    :param context: the fields of the run and the task that printed it; empty where none did.
    """
    for line in lines:
        logger.info("%s", line.rstrip("\r\n"), extra=context)
