"""The stream of a run's changes, as server-sent events.

Source: contract, section 3, row ``/watch``; the HTML standard, section "Server-sent events".
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import Blueprint, Response, request

from pyoco_server.contract.projections import without_records
from pyoco_server.errors import PyocoServerError, RunNotFound, TooManyWatches
from pyoco_server.gateway.context import Gateway, gateway
from pyoco_server.gateway.inputs import read_watch_query, wants_records
from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus

blueprint = Blueprint("watch", __name__)

#: The published clients give up after five seconds of silence.
_COMMENT_SEC = 2.0
_HEARTBEAT_SEC = 5.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@blueprint.get("/runs/<run_id>/watch")
def watch_run(run_id: str) -> Response:
    """Follow a run until it ends or the time is over."""
    since, timeout_sec, revision = read_watch_query(request.args, request.headers.get("Last-Event-ID"))
    parts = gateway()
    parts.runs.get(run_id)
    stream = WatchStream(
        parts,
        run_id,
        with_records=wants_records(request.args),
        since=since,
        after_revision=revision,
        is_gone=request.environ.get("waitress.client_disconnected", lambda: False),
    )
    if not parts.watch_places.acquire(blocking=False):
        raise TooManyWatches(f"This gateway serves {parts.config.max_watches} watches, and all are taken. Ask again.")
    response = Response(stream.events(timeout_sec), headers=_HEADERS, content_type="text/event-stream")
    # Also runs when the client went away before the first byte.
    response.call_on_close(parts.watch_places.release)
    return response


class WatchStream:
    """Turns the changes of one run into events.

    :param since: nothing is sent of states that are older, unix seconds.
    :param after_revision: nothing is sent up to this revision; 0 = send what stands there now.
    :param is_gone: says whether the client has left.
    """

    def __init__(
        self,
        parts: Gateway,
        run_id: str,
        *,
        with_records: bool,
        since: float | None,
        after_revision: int,
        is_gone: Callable[[], bool],
    ) -> None:
        self._parts = parts
        self._run_id = run_id
        self._with_records = with_records
        self._since = since
        self._revision = after_revision
        self._is_gone = is_gone

    def events(self, timeout_sec: float) -> Iterator[str]:
        """Give the stream's text, piece by piece."""
        deadline = Deadline(timeout_sec)
        with self._parts.model.watch(self._run_id) as watch:
            last_event_at = time.monotonic()
            while True:
                document = self._news()
                if document is not None:
                    yield self._snapshot_event(document)
                    last_event_at = time.monotonic()
                    if RunStatus(document["status"]).is_terminal:
                        return
                if deadline.has_passed or self._parts.stopping.is_set() or self._is_gone():
                    return
                if watch.wait(min(_COMMENT_SEC, deadline.remaining_sec)):
                    continue
                if time.monotonic() - last_event_at >= _HEARTBEAT_SEC:
                    yield _event("heartbeat", {"run_id": self._run_id, "ts": time.time()})
                    last_event_at = time.monotonic()
                else:
                    yield ": alive\n\n"

    def _news(self) -> dict[str, Any] | None:
        """Give the run's state if it is newer than what was sent."""
        known = self._parts.model.run(self._run_id)
        if known is not None and known[1] <= self._revision:
            return None
        document, revision = known or (None, 0)
        if document is None or self._with_records:
            stored = self._stored()
            if stored is None or stored[1] <= self._revision:
                return None
            document, revision = stored
        if self._since is not None and document["updated_at"] < self._since:
            return None
        self._since = None
        self._revision = revision
        return document

    def _stored(self) -> tuple[dict[str, Any], int] | None:
        """Read the run from the store: for its records, and when the model has not seen it yet."""
        try:
            stored = self._parts.runs.get(self._run_id)
        except RunNotFound:
            return None
        except PyocoServerError:
            # NATS is away: the stream stays open and goes on when it is back.
            return None
        document = stored.snapshot.to_document()
        return (document if self._with_records else without_records(document)), stored.revision

    def _snapshot_event(self, document: dict[str, Any]) -> str:
        data = {"run_id": self._run_id, "snapshot": document, "ts": time.time()}
        return f"id: {self._revision}\n{_event('snapshot', data)}"


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
