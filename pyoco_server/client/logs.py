"""What a run has printed, over HTTP: read once, or followed to its end.

Source: contract, section 3, row ``GET /runs/{run_id}/logs``.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any

from pyoco_server.client.streams import Patience, StreamCalls
from pyoco_server.client.transport import given, segment
from pyoco_server.errors import GatewayRefused, GatewayUnreachable


class LogCalls(StreamCalls):
    """Reads logs."""

    def get_run_logs(self, run_id: str, *, task: str | None = None, tail: int | None = None) -> dict[str, Any]:
        """Read what a run has printed (``GET /runs/{run_id}/logs``).

        :param task: only what this task has printed.
        :param tail: only the last so many entries, 1 to 1,000,000.
        :return: ``{run_status, logs, is_cut}``; ``logs`` are ``{seq, task, stream, text, timestamp}`` in order, the
            newest 8 MiB, and ``is_cut`` says whether there was more; ``task`` is ``None`` where none is known.
        :raises GatewayRefused: with status 404 where there is no such run.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("GET", f"/runs/{segment(run_id)}/logs", params=given(task=task, tail=tail))

    def follow_run_logs(
        self,
        run_id: str,
        *,
        task: str | None = None,
        tail: int | None = None,
        timeout_sec: float | None = None,
    ) -> Generator[dict[str, Any], None, None]:
        """Follow what a run prints until it has ended; the request is made at the first ``next()``.

        A stream that ends or breaks is opened again where it has ended, unless the gateway stays away for
        :data:`~pyoco_server.client.streams.OUTAGE_MAX_SEC`; only the first connection must succeed at once. Close the
        iterator (or the client) when you stop before its end.

        :param task: only what this task prints.
        :param tail: of what has been printed already, only the last so many entries.
        :param timeout_sec: seconds after which it ends in any case; no limit when ``None``.
        :return: dictionaries ``{event, data, id}``: event ``log`` with an entry ``{seq, task, stream, text,
            timestamp}``, all of them in the order in which they came, and at the end of the run one event ``end`` with
            data ``{run_id, run_status}``.
        :raises GatewayRefused: with status 404 where there is no such run, 422 for a value out of its range.
        :raises GatewayUnreachable: no connection, or none any more.
        """
        segment(run_id)
        return self._follow(run_id, task, tail, Patience(timeout_sec, is_known=False))

    def _follow(
        self, run_id: str, task: str | None, tail: int | None, patience: Patience
    ) -> Generator[dict[str, Any], None, None]:
        last_event_id: str | None = None
        while patience.left_sec > 0 and not self._closed.is_set():
            query = given(follow="true", task=task, tail=tail, timeout_sec=patience.stream_sec)
            try:
                path = f"/runs/{segment(run_id)}/logs"
                with closing(self._stream(path, query, last_event_id, f"log of run {run_id}")) as events:
                    for event in events:
                        patience.note_event()
                        last_event_id = event.get("id", last_event_id)
                        yield event
                        if event["event"] == "end":
                            return
                patience.note_end()
            except (GatewayUnreachable, GatewayRefused) as exc:
                patience.bear(exc)
            self._closed.wait(patience.next_pause_sec())
