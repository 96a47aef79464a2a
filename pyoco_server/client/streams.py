"""Event streams of a gateway: one of them, and the patience that it takes to open the next.

Source: contract, section 3, row ``GET /runs/{run_id}/watch``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

from urllib3.exceptions import HTTPError, ReadTimeoutError

from pyoco_server.client.event_stream import EventDecoder
from pyoco_server.client.refusals import reason
from pyoco_server.client.transport import Transport
from pyoco_server.errors import GatewayRefused, GatewayUnreachable

#: Seconds without a byte after which a stream counts as broken. Gateways of this package write every 2 s,
#: those of 0.5.1 every 5 s and a little more: their own client, which waits for 5 s, loses that race.
STREAM_SILENCE_SEC = 15.0
#: The longest stream that a gateway grants (contract 3, ``timeout_sec``).
STREAM_MAX_SEC = 600
#: How long whoever follows a run to its end puts up with a gateway that is away; a restart takes less.
OUTAGE_MAX_SEC = 30.0
#: Shortest and longest pause before the next stream is opened.
_PAUSE_MIN_SEC, _PAUSE_MAX_SEC = 0.2, 2.0


class StreamCalls(Transport):
    """Reads event streams."""

    def _stream(
        self, path: str, query: dict[str, Any], last_event_id: str | None, what: str
    ) -> Generator[dict[str, Any], None, None]:
        """Give the events of one stream.

        :param what: what is followed, for messages: ``watch of run r1``.
        """
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        timeouts = (self._timeout_sec, max(self._timeout_sec, STREAM_SILENCE_SEC))
        answer = self._send("GET", path, timeout=timeouts, stream=True, params=query, headers=headers)
        with closing(answer):
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise self._nonsense("GET", path, "an event stream was expected")
            decoder = EventDecoder()
            try:
                # read1 gives what has arrived; requests' own iterators wait until a piece is full.
                while chunk := answer.raw.read1(65536, decode_content=True):
                    yield from decoder.feed(chunk)
            except ReadTimeoutError as exc:
                raise GatewayUnreachable(
                    f"The gateway at {self._base_url} was silent for {timeouts[1]:g} s in the {what}; ask again."
                ) from exc
            except (HTTPError, OSError) as exc:
                raise GatewayUnreachable(
                    f"The connection to the gateway at {self._base_url} broke in the {what}: {reason(exc)}; ask again."
                ) from exc
            except ValueError as exc:
                raise self._nonsense("GET", path, "an event's data is not a JSON object") from exc


class Patience:
    """When the next stream is opened, and when the gateway has been away for too long.

    :param timeout_sec: seconds for all streams together; no bound when ``None``.
    :param is_known: the gateway has just told of what is followed; else the first connection must succeed at once.
    """

    def __init__(self, timeout_sec: float | None, *, is_known: bool) -> None:
        self._end = math.inf if timeout_sec is None else time.monotonic() + timeout_sec
        self._reached_at = time.monotonic() if is_known else None
        self._pause_sec = _PAUSE_MIN_SEC

    @property
    def left_sec(self) -> float:
        return self._end - time.monotonic()

    @property
    def stream_sec(self) -> int:
        """How long the next stream may last."""
        return math.ceil(min(self.left_sec, STREAM_MAX_SEC))

    def note_event(self) -> None:
        """Note that an event came."""
        self._reached_at, self._pause_sec = time.monotonic(), _PAUSE_MIN_SEC

    def note_end(self) -> None:
        """Note that a stream has ended as it should."""
        self._reached_at = time.monotonic()

    def bear(self, exc: GatewayUnreachable | GatewayRefused) -> None:
        """Raise an error again unless the next stream may go better; to be called where it was caught."""
        if self._reached_at is None or not exc.retryable:
            raise exc
        if time.monotonic() - self._reached_at > OUTAGE_MAX_SEC:
            raise exc

    def next_pause_sec(self) -> float:
        """Give how long to wait now."""
        pause_sec = min(self._pause_sec, max(0.0, self.left_sec))
        self._pause_sec = min(_PAUSE_MAX_SEC, self._pause_sec * 2)
        return pause_sec
