"""The stream of a run's changes, as server-sent events; and waiting for its end alone.

Source: contract, section 3, row ``/watch``; the HTML standard, section "Server-sent events".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, request

from pyoco_server.contract.json_text import to_json
from pyoco_server.contract.projections import without_records
from pyoco_server.errors import ApiKeyInvalid, PyocoServerError, RunNotFound, TooManyWatches, Unavailable
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import Gateway, gateway
from pyoco_server.gateway.description import described
from pyoco_server.gateway.outputs import WatchEvent
from pyoco_server.gateway.queries import WatchHeaders, WatchQuery
from pyoco_server.gateway.streams import HAND_OVER
from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus
from pyoco_server.stores.runs import StoredRun

blueprint = Blueprint("watch", __name__)

#: The published clients give up after five seconds of silence; the contract says two.
COMMENT_SEC = 1.9
_HEARTBEAT_SEC = 5.0
#: Of every stream of events.
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@blueprint.get("/runs/<run_id>/watch")
@described(media_type="text/event-stream", answer=WatchEvent)
def watch_run(run_id: str, query: WatchQuery, headers: WatchHeaders) -> Response:
    """Follow a run until it ends or the time is over."""
    parts = gateway()
    life = parts.model.life
    stored = parts.runs.get(run_id)
    stream = WatchStream(
        parts,
        stored,
        with_records=query.wants_all,
        since=query.since,
        after_revision=headers.last_event_id,
        life=life,
        is_gone=reader_is_gone(parts),
        timeout_sec=query.timeout_sec,
    )
    take_place(parts)
    hand_over = request.environ.get(HAND_OVER)
    if hand_over is not None and request.method == "GET":
        hand_over(stream)
        return Response(iter([stream.begin()]), headers=STREAM_HEADERS, content_type="text/event-stream")
    response = Response(stream.pieces(), headers=STREAM_HEADERS, content_type="text/event-stream")
    # Also runs when the client went away before the first byte.
    response.call_on_close(stream.close)
    return response


def wait_for_end(parts: Gateway, run_id: str, timeout_sec: float) -> None:
    """Wait until a run has ended, the time is over, the client has left or the gateway stops; takes a watch's place.

    :raises TooManyWatches: every place is taken.
    :raises RunNotFound: it has been removed.
    :raises ApiKeyInvalid: the client's key has been revoked meanwhile.
    """
    take_place(parts)
    is_gone = reader_is_gone(parts)
    deadline = Deadline(timeout_sec)
    try:
        with parts.model.watch(run_id) as watch:
            while not (deadline.has_passed or parts.stopping.is_set() or is_gone() or _has_ended(parts, run_id)):
                watch.wait(min(COMMENT_SEC, deadline.remaining_sec))
    finally:
        parts.watch_places.release()
    if not parts.authentication.may_stay(caller()):
        raise ApiKeyInvalid


def client_has_left() -> Callable[[], bool]:
    """Make what says whether the client of this request has left, where the HTTP server notices that."""
    has_left: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    return has_left


def reader_is_gone(parts: Gateway) -> Callable[[], bool]:
    """Make what says whether the client of this request has left, or may read no more."""
    has_left = client_has_left()
    reader = caller()
    return lambda: has_left() or not parts.authentication.may_stay(reader)


def take_place(parts: Gateway) -> None:
    """Take a place for a watch; whoever takes it releases it."""
    if not parts.watch_places.acquire(blocking=False):
        raise TooManyWatches(f"This gateway serves {parts.config.max_watches} watches, and all are taken. Ask again.")


def status_now(parts: Gateway, run_id: str) -> RunStatus | None:
    """Give the state of a run that is followed; ``None`` while nobody can tell.

    :raises RunNotFound: it has been removed.
    """
    known = parts.model.run(run_id)
    if known is not None:
        return known.status
    try:
        # The read model has not heard of it yet.
        return parts.runs.get(run_id, budget_sec=0).snapshot.status
    except Unavailable:
        return None


def _has_ended(parts: Gateway, run_id: str) -> bool:
    status = status_now(parts, run_id)
    return status is not None and status.is_terminal


class WatchStream:
    """Turns the changes of one run into events.

    :param stored: the run as it is now.
    :param since: the run as it is now is not sent if it is older than this, unix seconds.
    :param after_revision: nothing is sent up to this revision, which the client has seen; 0 = it has seen none.
    :param life: of the read model, when ``stored`` was read.
    :param is_gone: says whether the client has left, or may read no more.
    :param timeout_sec: from now on.
    """

    def __init__(
        self,
        parts: Gateway,
        stored: StoredRun,
        *,
        with_records: bool,
        since: float | None,
        after_revision: int,
        life: int,
        is_gone: Callable[[], bool],
        timeout_sec: float,
    ) -> None:
        self._parts = parts
        self.run_id = stored.snapshot.run_id
        self._ends_at = time.monotonic() + timeout_sec
        self._spoke_at = self._told_at = time.monotonic()
        self._with_records = with_records
        self._life = life
        self._is_gone = is_gone
        self._revision = stored.revision
        self._has_ended = stored.snapshot.status.is_terminal
        self._first: str | None = self._text(stored)
        # A later revision than the store's is of a stream that is no more, and says nothing.
        is_seen = after_revision == stored.revision
        if is_seen or (since is not None and stored.snapshot.updated_at < since):
            self._first = None

    def pieces(self) -> Iterator[str]:
        """Give the stream's text, piece by piece, on a thread of its own."""
        with self._parts.model.watch(self.run_id) as watch:
            yield self.begin()
            while not self.is_over:
                piece = self.look()
                if piece is not None:
                    yield piece
                else:
                    watch.wait(max(0.0, self.due_at - time.monotonic()))

    def begin(self) -> str:
        """Give the first piece, which goes out at once, and with it the headers of the answer."""
        first, self._first = self._first, None
        return ": watching\n\n" if first is None else self._snapshot_event(first)

    def look(self) -> str | None:
        """Give the run's news, or a sign of life where one is due."""
        news = self._news()
        now = time.monotonic()
        if news is not None:
            self._spoke_at = self._told_at = now
            return self._snapshot_event(news)
        if self._has_ended:
            return None
        if now - self._told_at >= _HEARTBEAT_SEC:
            self._spoke_at = self._told_at = now
            return event_text("heartbeat", {"run_id": self.run_id, "ts": time.time()})
        if now - self._spoke_at >= COMMENT_SEC:
            self._spoke_at = now
            return ": alive\n\n"
        return None

    @property
    def due_at(self) -> float:
        """When a sign of life is due, or the time is over."""
        return min(self._spoke_at + COMMENT_SEC, self._told_at + _HEARTBEAT_SEC, self._ends_at)

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, the time is over, or the stream is of no use any more: nobody reads it, or its
        revisions count anew."""
        if self._has_ended or time.monotonic() >= self._ends_at:
            return True
        return self._parts.stopping.is_set() or self._is_gone() or self._parts.model.life != self._life

    @property
    def asks_nats(self) -> bool:
        """Whether there is news that the read model does not hold."""
        known = self._parts.model.run(self.run_id)
        if known is None:
            return True
        return known.revision > self._revision and (known.text is None or self._with_records)

    def close(self) -> None:
        """Give the place of the watch back."""
        self._parts.watch_places.release()

    def _news(self) -> str | None:
        """Give the run's snapshot if it is newer than what was sent."""
        if not self._parts.authentication.is_current:
            # The client's key may have been revoked while NATS was away.
            return None
        known = self._parts.model.run(self.run_id)
        if known is not None and known.revision <= self._revision:
            return None
        if known is None or known.text is None or self._with_records:
            return self._read_anew()
        self._revision = known.revision
        self._has_ended = known.status.is_terminal
        return known.text

    def _read_anew(self) -> str | None:
        try:
            # One try: whoever waits here for long does not tell the client that the gateway lives.
            stored = self._parts.runs.get(self.run_id, budget_sec=0)
        except RunNotFound:
            # Removed: whoever asks again is told so.
            self._has_ended = True
            return None
        except PyocoServerError:
            # NATS is away: the stream stays open and goes on when it is back.
            return None
        if stored.revision <= self._revision:
            return None
        self._revision = stored.revision
        self._has_ended = stored.snapshot.status.is_terminal
        return self._text(stored)

    def _text(self, stored: StoredRun) -> str:
        document = stored.snapshot.to_document()
        return to_json(document if self._with_records else without_records(document))

    def _snapshot_event(self, text: str) -> str:
        data = f'{{"run_id": {to_json(self.run_id)}, "snapshot": {text}, "ts": {time.time()}}}'
        return f"id: {self._revision}\nevent: snapshot\ndata: {data}\n\n"


def event_text(name: str, data: Mapping[str, Any]) -> str:
    """Write an event of a stream; an ``id:`` may stand before it."""
    return f"event: {name}\ndata: {to_json(data)}\n\n"
