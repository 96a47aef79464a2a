"""The marks in what a runner prints, which say whose text follows.

What tasks print, what C code in them prints and what the programs print that they start all goes through the
runner's descriptors 1 and 2, so that it keeps its order. The runner puts a mark before text of another task or
stream than the last one; what a program writes, which knows no marks, belongs to the mark before it. A mark is

    RS token [task, stream] US

with the control characters of ASCII, a token that the worker has chosen for this runner, and JSON, in which no
control character stands.
"""

from __future__ import annotations

import contextlib
import json
import re

_BEGIN, _END = b"\x1e", b"\x1f"
#: A longer one is text that looks like a mark.
_MAX_MARK_BYTES = 4_096


def mark(token: str, task: str | None, stream: str) -> bytes:
    """Make the mark before text of a task and stream; ``None`` = of the run."""
    return _BEGIN + token.encode() + json.dumps([task, stream]).encode() + _END


class MarkReader:
    """Takes marks out of a byte stream that arrives in pieces."""

    def __init__(self, token: str) -> None:
        self._opening = _BEGIN + token.encode()
        self._pattern = re.compile(re.escape(self._opening) + rb"(\[[^\x1e\x1f]*\])" + _END)
        self._unread = b""

    def read(self, data: bytes) -> list[bytes | tuple[str | None, str]]:
        """Read a piece; an empty one is the end of the stream.

        :return: texts and, between them, the ``(task, stream)`` of the marks.
        """
        found: list[bytes | tuple[str | None, str]] = []
        whole, begin = self._unread + data, 0
        for match in self._pattern.finditer(whole):
            source = _source(match[1])
            if source is None:
                continue
            found.append(whole[begin : match.start()])
            found.append(source)
            begin = match.end()
        end = self._mark_begun(whole, begin) if data else len(whole)
        found.append(whole[begin:end])
        self._unread = whole[end:]
        return [item for item in found if item]

    def _mark_begun(self, whole: bytes, begin: int) -> int:
        """Find where a mark begins that does not end in this piece; the end of the piece where none does."""
        at = whole.rfind(_BEGIN, max(begin, len(whole) - _MAX_MARK_BYTES))
        if at < 0:
            return len(whole)
        tail = whole[at : at + len(self._opening)]
        return at if self._opening.startswith(tail) else len(whole)


def _source(text: bytes) -> tuple[str | None, str] | None:
    """Read what a mark names; ``None`` where it is none.

    A program that a task has started may have written into the midst of a mark: what a full pipe does not take at once
    goes there in pieces.
    """
    with contextlib.suppress(ValueError):
        task, stream = json.loads(text)
        if isinstance(task, (str, type(None))) and isinstance(stream, str):
            return task, stream
    return None
