"""What a run has printed: as JSON, as lines of text, or as a stream that goes on until its end.

Source: contract, section 3, row ``/logs``; the HTML standard, section "Server-sent events".
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from flask import Blueprint, Response, jsonify, request

from pyoco_server.contract.log_entries import BEGINNING, LogEntry, lines_of
from pyoco_server.errors import PyocoServerError, RunNotFound
from pyoco_server.gateway.context import Gateway, gateway, take_room
from pyoco_server.gateway.description import JSON, described
from pyoco_server.gateway.outputs import LogEvent, RunOutput
from pyoco_server.gateway.queries import LogHeaders, LogQuery
from pyoco_server.gateway.watch import (
    COMMENT_SEC,
    STREAM_HEADERS,
    event_text,
    reader_is_gone,
    status_now,
    take_place,
)
from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus
from pyoco_server.stores.log_reader import LogReader, RunLogs

blueprint = Blueprint("logs", __name__)

_TEXT, _EVENTS = "text/plain", "text/event-stream"
#: What is heard of may not be stored yet: in a cluster that takes milliseconds more. When it is looked again.
_LOOK_AGAIN_SEC = (0.02, 0.1, 0.5)


@blueprint.get("/runs/<run_id>/logs")
@described(answer=RunOutput, also_as={_TEXT: str, _EVENTS: LogEvent})
def get_logs(run_id: str, query: LogQuery, headers: LogHeaders) -> Response:
    """Read what a run has printed."""
    response = _answer(run_id, query, headers)
    response.vary.add("Accept")
    return response


def _answer(run_id: str, query: LogQuery, headers: LogHeaders) -> Response:
    parts = gateway()
    # Before the entries: whoever sees the end of the run has all of them.
    stored = parts.runs.get(run_id)
    if query.follow:
        return _follow(parts, run_id, query, headers)
    if _wants_text(query, JSON):
        return _text(_lines(_all(parts, run_id, query)))
    found = _newest(parts, run_id, query)
    logs = [entry.fields for entry in found.entries]
    output: RunOutput = {"run_status": stored.snapshot.status, "logs": logs, "is_cut": found.is_cut}
    return jsonify(output)


def _wants_text(query: LogQuery, default: str) -> bool:
    if query.format is not None:
        return query.format == "text"
    return request.accept_mimetypes.best_match([default, _TEXT], default) == _TEXT


def _text(pieces: Iterator[str]) -> Response:
    # What fails at the first piece can still be answered with a problem.
    first = next(pieces, "")
    return Response(itertools.chain([first], pieces), content_type=f"{_TEXT}; charset=utf-8")


def _newest(parts: Gateway, run_id: str, query: LogQuery) -> RunLogs:
    return parts.logs.read(run_id, task=query.task, count=query.tail, take_room=take_room)


def _all(parts: Gateway, run_id: str, query: LogQuery) -> Iterator[list[LogEntry]]:
    """Give the entries that a text has: the last ones in their order, or all as they were stored, a part at a time."""
    if query.tail is not None:
        yield _newest(parts, run_id, query).entries
        return
    reader = parts.logs.reader(run_id)
    for entries in reader.more():
        yield [entry for entry in entries if entry.is_of(query.task)]
    yield [entry for entry in reader.rest() if entry.is_of(query.task)]


def _lines(parts_of_log: Iterable[list[LogEntry]]) -> Iterator[str]:
    for entries in parts_of_log:
        yield "".join(f"{line}\n" for entry in entries for line in lines_of(entry.fields))


def _follow(parts: Gateway, run_id: str, query: LogQuery, headers: LogHeaders) -> Response:
    # Before the tail is read, which is work that nobody asks for who is refused.
    take_place(parts)
    try:
        response = _following(parts, run_id, query, headers)
    except BaseException:
        parts.watch_places.release()
        raise
    # Also runs when the client went away before the first byte.
    response.call_on_close(parts.watch_places.release)
    return response


def _following(parts: Gateway, run_id: str, query: LogQuery, headers: LogHeaders) -> Response:
    first: list[LogEntry] = []
    after = headers.last_event_id
    if after is None:
        after = BEGINNING
        if query.tail is not None:
            newest = _newest(parts, run_id, query)
            # Attempts may overlap: in the order of places, at each of which a client may resume.
            first, after = sorted(newest.entries, key=lambda entry: entry.place), newest.end
    followed = FollowedLog(
        parts, run_id, query.task, first, parts.logs.reader(run_id, after, budget_sec=0), reader_is_gone(parts)
    )
    is_text = _wants_text(query, _EVENTS)
    news = followed.news(query.timeout_sec)
    pieces = _lines(news) if is_text else _events(followed, news)
    content_type = f"{_TEXT}; charset=utf-8" if is_text else _EVENTS
    return Response(pieces, headers=STREAM_HEADERS, content_type=content_type)


def _events(followed: FollowedLog, news: Iterator[list[LogEntry]]) -> Iterator[str]:
    for entries in news:
        yield "".join(f"id: {entry.place}\n{event_text('log', entry.fields)}" for entry in entries) or ": alive\n\n"
    if followed.end is not None:
        yield event_text("end", {"run_id": followed.run_id, "run_status": followed.end})


class FollowedLog:
    """What a run prints, as it comes.

    :param task: what others print is left out; empty = nothing is.
    :param first: what is given before all that the reader has.
    :param is_gone: says whether the client has left, or may read no more.
    :ivar end: how the run has ended, once all that it has printed was given.
    """

    def __init__(
        self,
        parts: Gateway,
        run_id: str,
        task: str,
        first: list[LogEntry],
        reader: LogReader,
        is_gone: Callable[[], bool],
    ) -> None:
        self.run_id = run_id
        self.end: RunStatus | None = None
        self._parts = parts
        self._task = task
        self._first = first
        self._reader = reader
        self._is_gone = is_gone
        self._is_removed = False
        self._life = parts.model.life

    def news(self, timeout_sec: float) -> Iterator[list[LogEntry]]:
        """Give what is new, until the run has ended or the time is over; nothing where a sign of life is due."""
        deadline = Deadline(timeout_sec)
        heard = threading.Event()
        with self._parts.model.watch(self.run_id) as watch:

            def hear(payload: bytes) -> None:
                heard.set()
                watch.notify()

            with self._parts.logs.listen(self.run_id, hear):
                # The first piece goes out at once, and with it the headers of the answer. It may be a whole log.
                first, self._first = self._first, []
                yield first
                del first
                spoke_at = time.monotonic()
                looks: Iterator[float] = iter(())
                while not (deadline.has_passed or self._is_over()):
                    looks = iter(_LOOK_AGAIN_SEC) if heard.is_set() else looks
                    heard.clear()
                    for entries in self._more():
                        if entries or time.monotonic() - spoke_at >= COMMENT_SEC:
                            yield entries
                            spoke_at = time.monotonic()
                        if entries:
                            looks = iter(())
                        if self._is_over():
                            return
                    if self.end is None:
                        silent_sec = time.monotonic() - spoke_at
                        due_sec = min(next(looks, COMMENT_SEC), COMMENT_SEC - silent_sec, deadline.remaining_sec)
                        watch.wait(max(0.0, due_sec))

    def _is_over(self) -> bool:
        """Say whether nothing more is to come: all was given, nobody reads it, or sequences count anew."""
        is_ended = self.end is not None or self._is_removed
        return is_ended or self._parts.stopping.is_set() or self._is_gone() or self._parts.model.life != self._life

    def _more(self) -> Iterator[list[LogEntry]]:
        """Give what has come since the last call, the last part also where it is empty; note the run's end."""
        try:
            # The client's key may have been revoked while NATS was away.
            if not self._parts.authentication.is_current:
                yield []
            else:
                # Before the entries, as workers store them before the end.
                status = status_now(self._parts, self.run_id)
                for entries in self._reader.more():
                    yield self._wanted(entries)
                if status is not None and status.is_terminal:
                    yield self._wanted(self._reader.rest())
                    self.end = status
        except RunNotFound:
            # Removed: whoever asks again is told so.
            self._is_removed = True
        except PyocoServerError:
            # NATS is away: the stream stays open and goes on when it is back.
            yield []

    def _wanted(self, entries: list[LogEntry]) -> list[LogEntry]:
        return [entry for entry in entries if entry.is_of(self._task)]
