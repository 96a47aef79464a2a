"""Reading a stream of server-sent events as it comes, with the time of each piece."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Piece:
    """One event or comment.

    :param name: of the event; ``comment`` for a comment.
    :param at: when it came, ``time.monotonic()``.
    """

    name: str
    at: float
    data: dict[str, Any]
    id: str | None = None


class EventStream:
    """A watch of a run over a connection of its own."""

    def __init__(self, port: int, path: str, headers: dict[str, str] | None = None, timeout_sec: float = 10) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_sec)
        self.asked_at = time.monotonic()
        self._connection.request("GET", path, headers=headers or {})
        self.answer = self._connection.getresponse()
        self.opened_at = time.monotonic()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.answer.close()
        self._connection.close()

    def pieces(self) -> Iterator[Piece]:
        """Give events and comments until the gateway ends the stream."""
        name, event_id, data = "message", None, ""
        for line in iter(self.answer.readline, b""):
            text = line.decode().rstrip("\n")
            field, _, value = text.partition(": ")
            if field == "" and value:
                yield Piece("comment", time.monotonic(), {})
            elif field == "event":
                name = value
            elif field == "id":
                event_id = value
            elif field == "data":
                data = value
            elif not text and data:
                yield Piece(name, time.monotonic(), json.loads(data), event_id)
                name, event_id, data = "message", None, ""

    def events(self) -> Iterator[Piece]:
        """Give events without the comments."""
        return (piece for piece in self.pieces() if piece.name != "comment")

    def snapshots(self) -> Iterator[Piece]:
        return (piece for piece in self.pieces() if piece.name == "snapshot")


class Recorder:
    """Reads a stream on a thread of its own, so that nothing is missed meanwhile."""

    def __init__(self, stream: EventStream) -> None:
        self.pieces: list[Piece] = []
        #: When the gateway ended it, ``time.monotonic()``.
        self.ended_at: float | None = None
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for piece in self._stream.pieces():
            self.pieces.append(piece)
        self.ended_at = time.monotonic()

    @property
    def names(self) -> list[str]:
        """The names of the events."""
        return [piece.name for piece in self.pieces if piece.name != "comment"]

    def statuses(self) -> list[str]:
        return [piece.data["snapshot"]["status"] for piece in self.pieces if piece.name == "snapshot"]
