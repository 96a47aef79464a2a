"""The client's watch: one stream of a run's changes, or as many as its end takes.

Source: contract, section 3, row ``GET /runs/{run_id}/watch``.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from typing import Any

from pyoco_server.client.streams import Patience, StreamCalls
from pyoco_server.client.transport import given, segment
from pyoco_server.errors import GatewayRefused, GatewayUnreachable
from pyoco_server.states import TERMINAL


class WatchCalls(StreamCalls):
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
            :data:`~pyoco_server.client.streams.OUTAGE_MAX_SEC`. Only the first connection must succeed at once. A run
            that has ended before ``since`` gives nothing, and ends the watch.
        :param is_known: the gateway has just told of this run; with ``until_terminal`` the first connection, too, may
            take as long as a later one.
        :return: dictionaries ``{event, data}``, with ``id`` where the gateway sends one: event ``snapshot``
            with data ``{run_id, snapshot, ts}``, event ``heartbeat`` with ``{run_id, ts}``.
        :raises GatewayRefused: with status 404 where there is no such run, 422 for a value out of its range.
        :raises GatewayUnreachable: no connection, a broken one, or
            :data:`~pyoco_server.client.streams.STREAM_SILENCE_SEC` without a byte; safe to repeat.
        """
        segment(run_id)
        if until_terminal:
            patience = Patience(timeout_sec, is_known=is_known)
            return self._watch_until_terminal(run_id, include_records, since, patience)
        return self._watch_once(run_id, include_records, since, timeout_sec, None)

    def _watch_until_terminal(
        self, run_id: str, include_records: bool, since: float | None, patience: Patience
    ) -> Generator[dict[str, Any], None, None]:
        last_event_id: str | None = None
        last_snapshot: dict[str, Any] | None = None
        while patience.left_sec > 0 and not self._closed.is_set():
            is_silent = True
            try:
                stream = self._watch_once(run_id, include_records, since, patience.stream_sec, last_event_id)
                with closing(stream):
                    for event in stream:
                        patience.note_event()
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
                patience.note_end()
                if is_silent and since is not None and self._ended_until(run_id, since):
                    return
            except (GatewayUnreachable, GatewayRefused) as exc:
                patience.bear(exc)
            self._closed.wait(patience.next_pause_sec())

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
        query = given(include="records" if include_records else None, since=since, timeout_sec=timeout_sec)
        return self._stream(f"/runs/{segment(run_id)}/watch", query, last_event_id, f"watch of run {run_id}")
