"""The stream of what runs print: one subject a run, one message for each time that something of it was brought.

Source: contract, sections 2 and 3 (``GET /runs/{run_id}/logs``).
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pyoco_server.bridge.answers import unix_seconds
from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.key_hints import KeyHints
from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.contract.log_entries import BEGINNING, LogPlace
from pyoco_server.stores.log_reader import LogReader, RunLogs, read_newest

#: Entries are put into messages of about this size.
_MESSAGE_BYTES = 128 * 1024
#: A longer text is stored in pieces. A character may take twelve bytes in JSON, and NATS carries a megabyte.
_PIECE_CHARS = 64 * 1024
#: Each attempt of a worker of ours counts its entries from its number times this on, the first from 0.
SEQS_PER_ATTEMPT = 1_000_000_000
#: What is kept of an entry that is larger than a message; fields that are not known may be large.
_FIELDS = ("seq", "task", "stream", "text", "timestamp")


class LogStore:
    """Keeps log entries as they are brought: objects with ``seq task stream text timestamp``."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._hints = KeyHints(bus)

    def append(
        self,
        run_id: str,
        attempt: int,
        entries: Sequence[dict[str, Any]],
        *,
        batch_id: str | None = None,
        budget_sec: float | None = None,
    ) -> None:
        """Store entries of a run.

        :param batch_id: of these very entries; what is sent again under it within ten minutes is stored once.
        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :raises BusUnavailable: not confirmed; some of them may be stored.
        """
        subject = names.logs_subject(run_id)
        # Always with an id, because a write whose answer is lost is sent again.
        batch_id = batch_id or uuid.uuid4().hex
        payloads = list(pack(attempt, entries, batch_id))
        if payloads:
            self._bus.write(
                *(Write(subject, payload, msg_id=f"{batch_id}.{part}") for part, payload in enumerate(payloads)),
                budget_sec=budget_sec,
            )

    def read(
        self,
        run_id: str,
        *,
        task: str = "",
        count: int | None = None,
        budget_sec: float | None = None,
        take_room: Callable[[int], None] = lambda size_bytes: None,
    ) -> RunLogs:
        """Read the entries of a run, the newest if they are too many; see :func:`read_newest`.

        :raises BusUnavailable: no answer.
        """
        return read_newest(self._bus, run_id, task=task, count=count, budget_sec=budget_sec, take_room=take_room)

    def reader(self, run_id: str, after: LogPlace = BEGINNING, *, budget_sec: float | None = None) -> LogReader:
        """Give what reads the log of a run from a place on."""
        return LogReader(self._bus, run_id, after, budget_sec=budget_sec)

    def listen(self, run_id: str, hear: Callable[[bytes], None]) -> contextlib.AbstractContextManager[None]:
        """Hear of what is being stored of a run, a moment before it can be read; see :meth:`KeyHints.listen`."""
        return self._hints.listen(names.logs_subject(run_id), hear)

    def kept_since(self) -> float:
        """Give the moment, unix seconds, before which nothing is kept any more; 0 = all that ever was, is.

        :raises BusUnavailable: no answer.
        """
        info = self._bus.api(f"STREAM.INFO.{names.LOGS_STREAM}", budget_sec=0)
        state = info["state"]
        if state["messages"]:
            return unix_seconds(state["first_ts"]) if state["first_seq"] > 1 else 0.0
        return unix_seconds(info["ts"]) - info["config"]["max_age"] / 1e9 if state["last_seq"] else 0.0


def pack(attempt: int, entries: Sequence[dict[str, Any]], batch_id: str) -> Iterator[bytes]:
    """Pack entries: several into one message, or one that is larger than a message into several, ``piece_of`` it.

    :param batch_id: of these very entries; with it the same messages come out each time.
    """
    some: list[str] = []
    size = 0
    for index, entry in enumerate(entries):
        encoded = json.dumps(entry)
        if some and size + len(encoded) > _MESSAGE_BYTES:
            yield _message(attempt, some)
            some, size = [], 0
        if len(encoded) > _MESSAGE_BYTES:
            known = {name: entry[name] for name in _FIELDS if name in entry}
            yield from _pieces(attempt, known, f"{batch_id}.{index}")
            continue
        some.append(encoded)
        size += len(encoded)
    if some:
        yield _message(attempt, some)


def _message(attempt: int, encoded: list[str]) -> bytes:
    """Give the message with entries that are JSON already: nearly all that runs print goes this way."""
    return f'{{"attempt": {attempt}, "entries": [{", ".join(encoded)}]}}'.encode()


def _pieces(attempt: int, entry: dict[str, Any], piece_of: str) -> Iterator[bytes]:
    text = entry["text"]
    for start in range(0, max(1, len(text)), _PIECE_CHARS):
        piece = {**entry, "text": text[start : start + _PIECE_CHARS]}
        yield json.dumps({"attempt": attempt, "entries": [piece], "piece_of": piece_of}).encode()
