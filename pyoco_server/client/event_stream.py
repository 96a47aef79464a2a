"""Server-sent events, from the bytes of an answer to dictionaries.

Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream".
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any


class EventDecoder:
    """Turns the bytes of one stream into events, however the network cut them into pieces."""

    def __init__(self) -> None:
        # A server may begin with a byte order mark; bytes that are no UTF-8 must not end a watch.
        self._text = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._rest: list[str] = []
        self._after_return = False
        self._event = ""
        self._data: list[str] = []
        #: The last ``id:`` of the stream; what a later request sends as ``Last-Event-ID``.
        self.last_event_id: str | None = None

    def feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """Take the next bytes and give the events that they complete.

        An event that the end of the stream cut off is never given.

        :param chunk: bytes as they came; a character or a line end may be cut in two.
        :return: dictionaries ``{event, data}``, with ``id`` where the stream has named one. ``data`` is the
            decoded JSON object.
        :raises ValueError: the data of an event is not a JSON object.
        """
        for line in self._lines(self._text.decode(chunk)):
            event = self._take(line)
            if event is not None:
                yield event

    def _lines(self, text: str) -> Iterator[str]:
        """Cut at ``\\n``, ``\\r`` and ``\\r\\n``, and at nothing else: ``str.splitlines`` knows more ends."""
        if self._after_return and text:
            # The other half of a line end whose first half closed the previous piece.
            text = text.removeprefix("\n")
            self._after_return = False
        if not text:
            return
        self._after_return = text.endswith("\r")
        head, *tail = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        # A large snapshot comes in many pieces: joining them once keeps that linear.
        self._rest.append(head)
        for piece in tail:
            yield "".join(self._rest)
            self._rest = [piece]

    def _take(self, line: str) -> dict[str, Any] | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self.last_event_id = value
        # A comment is a line with an empty name; unknown names are ignored as the standard says.
        return None

    def _dispatch(self) -> dict[str, Any] | None:
        name, data = self._event or "message", "\n".join(self._data)
        self._event, self._data = "", []
        if not data:
            return None
        document = json.loads(data)
        if not isinstance(document, dict):
            raise ValueError(f"the data of event {name!r} is not a JSON object")
        event: dict[str, Any] = {"event": name, "data": document}
        if self.last_event_id is not None:
            event["id"] = self.last_event_id
        return event
