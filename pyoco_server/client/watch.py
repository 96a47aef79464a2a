"""The client's watch: one stream of a run's changes, or as many as its end takes.

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
from pyoco_server.client.transport import Transport, given, segment
from pyoco_server.errors import GatewayRefused, GatewayUnreachable
from pyoco_server.states import TERMINAL

#: Seconds without a byte after which a watch counts as broken. Gateways of this package write every 2 s,
#: those of 0.5.1 every 5 s and a little more: their own client, which waits for 5 s, loses that race.
WATCH_SILENCE_SEC = 15.0
#: The longest stream that a gateway grants (contract 3, ``timeout_sec``).
WATCH_STREAM_MAX_SEC = 600
#: How long a watch until the run's end puts up with a gateway that is away; a restart takes less.
WATCH_OUTAGE_MAX_SEC = 30.0
#: Shortest and longest pause before a watch opens its next stream.
_PAUSE_MIN_SEC, _PAUSE_MAX_SEC = 0.2, 2.0


class WatchCalls(Transport):
    """Follows runs."""

    def watch_run(
        self,
        run_id: str,
        *,
        include_records: bool = False,
        since: float | None = None,
        timeout_sec: float | None = None,
        until_terminal: bool = False,
        is_known: bool = False,
    ) -> Generator[dict[str, Any], None, None]:
        """Follow a run (``GET /runs/{run_id}/watch``); the request is made at the first ``next()``.

        Close the iterator (or the client) when you stop before its end.

        :param include_records: snapshots carry ``task_records``.
        :param since: unix seconds; the run as it is now is not sent if its ``updated_at`` is older than this.
        :param timeout_sec: whole seconds after which the stream ends, 1 to 600; the gateway's 60 when ``None``.
        :param until_terminal: go on with new streams until the terminal snapshot was given. ``timeout_sec``
            then bounds all streams together (no bound when ``None``, and more than 600 is allowed), and a
            connection that breaks is opened again, unless the gateway stays away for
            :data:`WATCH_OUTAGE_MAX_SEC`. Only the first connection must succeed at once. A run that has ended
            before ``since`` gives nothing, and ends the watch.
        :param is_known: the gateway has just told of this run; with ``until_terminal`` the first connection, too, may
            take as long as a later one.
        :return: dictionaries ``{event, data}``, with ``id`` where the gateway sends one: event ``snapshot``
            with data ``{run_id, snapshot, ts}``, event ``heartbeat`` with ``{run_id, ts}``.
        :raises GatewayRefused: with status 404 where there is no such run, 422 for a value out of its range.
        :raises GatewayUnreachable: no connection, a broken one, or :data:`WATCH_SILENCE_SEC` without a byte;
            safe to repeat.
        """
        segment(run_id)
        if until_terminal:
            reached_at = time.monotonic() if is_known else None
            return self._watch_until_terminal(run_id, include_records, since, timeout_sec, reached_at)
        return self._watch_once(run_id, include_records, since, timeout_sec, None)

    def _watch_until_terminal(
        self,
        run_id: str,
        include_records: bool,
        since: float | None,
        timeout_sec: float | None,
        reached_at: float | None,
    ) -> Generator[dict[str, Any], None, None]:
        end = math.inf if timeout_sec is None else time.monotonic() + timeout_sec
        last_event_id: str | None = None
        last_snapshot: dict[str, Any] | None = None
        pause_sec = _PAUSE_MIN_SEC
        while (left_sec := end - time.monotonic()) > 0 and not self._closed.is_set():
            stream_sec = math.ceil(min(left_sec, WATCH_STREAM_MAX_SEC))
            is_silent = True
            try:
                stream = self._watch_once(run_id, include_records, since, stream_sec, last_event_id)
                with closing(stream):
                    for event in stream:
                        reached_at, pause_sec = time.monotonic(), _PAUSE_MIN_SEC
                        last_event_id = event.get("id", last_event_id)
                        snapshot = event["data"].get("snapshot")
                        if snapshot is not None:
                            is_silent = False
                            if snapshot == last_snapshot:
                                # A gateway that knows no event ids begins each stream with the present state.
                                continue
                            last_snapshot, since = snapshot, snapshot.get("updated_at", since)
                        yield event
                        if snapshot is not None and snapshot.get("status") in TERMINAL:
                            return
                reached_at = time.monotonic()
                if is_silent and since is not None and self._ended_until(run_id, since):
                    return
            except (GatewayUnreachable, GatewayRefused) as exc:
                if reached_at is None or not exc.retryable:
                    raise
                if time.monotonic() - reached_at > WATCH_OUTAGE_MAX_SEC:
                    raise
            self._closed.wait(min(pause_sec, max(0.0, end - time.monotonic())))
            pause_sec = min(_PAUSE_MAX_SEC, pause_sec * 2)

    def _ended_until(self, run_id: str, moment: float) -> bool:
        """Say whether a run has ended by a moment, unix seconds: a watch from then on is sent nothing of it."""
        run = self._object("GET", f"/runs/{segment(run_id)}")
        return run.get("status") in TERMINAL and run.get("updated_at", math.inf) <= moment

    def _watch_once(
        self,
        run_id: str,
        include_records: bool,
        since: float | None,
        timeout_sec: float | None,
        last_event_id: str | None,
    ) -> Generator[dict[str, Any], None, None]:
        path = f"/runs/{segment(run_id)}/watch"
        query = given(include="records" if include_records else None, since=since, timeout_sec=timeout_sec)
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        timeouts = (self._timeout_sec, max(self._timeout_sec, WATCH_SILENCE_SEC))
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
                    f"The gateway at {self._base_url} was silent for {timeouts[1]:g} s in the watch of run "
                    f"{run_id}; watch it again."
                ) from exc
            except (HTTPError, OSError) as exc:
                raise GatewayUnreachable(
                    f"The connection to the gateway at {self._base_url} broke in the watch of run {run_id}: "
                    f"{reason(exc)}; watch it again."
                ) from exc
            except ValueError as exc:
                raise self._nonsense("GET", path, "an event's data is not a JSON object") from exc
