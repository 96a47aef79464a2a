"""The client's calls for dead letters.

Source: contract, section 2, "Dead letters"; issue 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyoco_server.client.transport import Transport, given

#: A gateway goes on with letter after letter for less than this.
_MANY_TIMEOUT_SEC = 30.0


class DeadLetterCalls(Transport):
    """Lists, reads, replays and removes dead letters."""

    def list_dead_letters(
        self, *, tag: str | None = None, reason: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> dict[str, Any]:
        """List dead letters, newest first (``GET /dead-letters``).

        :param tag: routing tag of the runs; any when ``None``.
        :param reason: such as ``execution_error``; any when ``None``.
        :param limit: size of a page, 1 to 200; the gateway's 50 when ``None``.
        :param cursor: ``next_cursor`` of the page before.
        :return: ``{items, next_cursor}``; ``next_cursor`` is ``None`` on the last page, and a page before it may be
            short where few of many letters match.
        :raises GatewayRefused: with status 422 for a query value out of its range, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("GET", "/dead-letters", params=given(tag=tag, reason=reason, limit=limit, cursor=cursor))

    def get_dead_letter(self, seq: int) -> dict[str, Any]:
        """Read a dead letter by its number (``GET /dead-letters/{seq}``).

        :return: ``{seq, reason, error, timestamp, run_id, flow_name, tag, tags, worker_id, …}``.
        :raises GatewayRefused: with status 404 where there is none.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("GET", f"/dead-letters/{seq}")

    def replay_dead_letter(self, seq: int) -> dict[str, Any]:
        """Submit the run of a dead letter again (``POST /dead-letters/{seq}/replay``); the letter is removed.

        :return: ``{seq, run_id, status}`` of the new run.
        :raises GatewayRefused: with status 404 where there is no such letter (any more), 409 where what is kept is not
            enough.
        :raises GatewayUnreachable: no answer; safe to repeat: a letter is replayed once.
        """
        return self._object("POST", f"/dead-letters/{seq}/replay")

    def replay_dead_letters(self, *, tag: str | None = None, reason: str | None = None) -> Iterator[dict[str, Any]]:
        """Submit the runs of all matching letters again (``POST /dead-letters/replay``); without a filter, of all.

        :param tag: routing tag of the runs; any when ``None``.
        :param reason: such as ``execution_error``; any when ``None``.
        :return: for each letter ``{seq, run_id}``, or ``seq`` with the problem document (RFC 9457) of one that could
            not be replayed and stays.
        :raises GatewayRefused: as for :meth:`replay_dead_letter`; also in mid-way, and safe to repeat.
        """
        for answer in self._each("POST", "/dead-letters/replay", tag, reason):
            yield from sorted([*answer["replayed"], *answer["refused"]], key=lambda item: int(item["seq"]))

    def delete_dead_letter(self, seq: int) -> dict[str, Any]:
        """Remove a dead letter (``DELETE /dead-letters/{seq}``).

        :return: ``{seq, deleted: true}``.
        :raises GatewayRefused: with status 404 where there is none.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("DELETE", f"/dead-letters/{seq}")

    def purge_dead_letters(self, *, tag: str | None = None, reason: str | None = None) -> int:
        """Remove all matching letters (``DELETE /dead-letters``); without a filter, all that there are.

        :param tag: routing tag of the runs; any when ``None``.
        :param reason: such as ``execution_error``; any when ``None``.
        :return: how many were removed.
        :raises GatewayRefused: with status 503 while NATS is away; also in mid-way, and safe to repeat.
        """
        return sum(answer["deleted"] for answer in self._each("DELETE", "/dead-letters", tag, reason))

    def _each(self, method: str, path: str, tag: str | None, reason: str | None) -> Iterator[dict[str, Any]]:
        """Repeat a request for as long as letters are left."""
        query = given(tag=tag, reason=reason, all="true" if tag is None and reason is None else None)
        timeout = max(self._timeout_sec, _MANY_TIMEOUT_SEC)
        while True:
            answer = self._object(method, path, timeout=timeout, params=query)
            yield answer
            if answer.get("next_cursor") is None:
                return
            query["cursor"] = answer["next_cursor"]
