"""The stream of what runs print: one subject a run, one message for each time that something of it was brought.

Source: contract, sections 2 and 3 (``GET /runs/{run_id}/logs``).
"""

from __future__ import annotations

import json
import re
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.errors import KeyMissing

#: Entries are put into messages of about this size.
_MESSAGE_BYTES = 128 * 1024
#: A longer text is stored in pieces. A character may take twelve bytes in JSON, and NATS carries a megabyte.
_PIECE_CHARS = 64 * 1024
#: What is read of one run at most; it is all in memory at once.
_MAX_READ_BYTES = 8 * 1024 * 1024
#: Each attempt of a worker of ours counts its entries from its number times this on, the first from 0.
SEQS_PER_ATTEMPT = 1_000_000_000
#: What a failed run's snapshot carries: so many of its last lines, and characters at most.
_LAST_LINES = 20
LAST_CHARS = 4_096
#: What is kept of an entry that is larger than a message; fields that are not known may be large.
_FIELDS = ("seq", "task", "stream", "text", "timestamp")


@dataclass(frozen=True)
class RunLogs:
    """What a run has printed.

    :param entries: in the order of their attempts and of their ``seq`` within.
    :param is_cut: whether there was more, all of it older, than is read at once.
    """

    entries: list[dict[str, Any]]
    is_cut: bool


class LogStore:
    """Keeps log entries as they are brought: objects with ``seq task stream text timestamp``."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def append(
        self, run_id: str, attempt: int, entries: Sequence[dict[str, Any]], *, batch_id: str | None = None
    ) -> None:
        """Store entries of a run.

        :param batch_id: of these very entries; what is sent again under it within two minutes is stored once.

        :raises BusUnavailable: not confirmed; some of them may be stored.
        """
        payloads = [json.dumps({"attempt": attempt, **message}).encode() for message in pack(entries)]
        subject = names.logs_subject(run_id)
        # Always with an id, because a write whose answer is lost is sent again.
        batch_id = batch_id or uuid.uuid4().hex
        if payloads:
            self._bus.write(
                *(Write(subject, payload, msg_id=f"{batch_id}.{part}") for part, payload in enumerate(payloads))
            )

    def read(self, run_id: str) -> RunLogs:
        """Read the entries of a run, the newest if they are too many.

        :raises BusUnavailable: no answer.
        """
        newest: deque[bytes] = deque()
        size, is_cut = 0, False
        for payload in self._payloads(names.logs_subject(run_id)):
            newest.append(payload)
            size += len(payload)
            while size > _MAX_READ_BYTES:
                size -= len(newest.popleft())
                is_cut = True
        return RunLogs(unpack([json.loads(payload) for payload in newest]), is_cut)

    def _payloads(self, subject: str) -> Iterator[bytes]:
        seq = 1
        while True:
            try:
                stored = self._bus.following(names.LOGS_STREAM, subject, seq)
            except KeyMissing:
                return
            yield stored.payload
            seq = stored.seq + 1


def lines_of(text: str) -> list[str]:
    """Give the lines of a text with their ends; ``str.splitlines`` knows a dozen other ends."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def last_lines(text: str) -> str | None:
    """Give what of a run's output a failed run's snapshot carries; ``None`` of an empty text.

    :param text: the output, or as much of its end as that is cut from.
    """
    return "".join(lines_of(text[-LAST_CHARS:])[-_LAST_LINES:]) or None


def pack(entries: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pack entries: several into one message, ``{entries}``, or one into several, ``{entries, piece_of}``."""
    some: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        entry_bytes = len(json.dumps(entry))
        if some and size + entry_bytes > _MESSAGE_BYTES:
            yield {"entries": some}
            some, size = [], 0
        if entry_bytes > _MESSAGE_BYTES:
            yield from _pieces({name: entry[name] for name in _FIELDS if name in entry})
            continue
        some.append(entry)
        size += entry_bytes
    if some:
        yield {"entries": some}


def _pieces(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    text, piece_of = entry["text"], uuid.uuid4().hex
    for start in range(0, max(1, len(text)), _PIECE_CHARS):
        yield {"entries": [{**entry, "text": text[start : start + _PIECE_CHARS]}], "piece_of": piece_of}


def unpack(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Unpack messages; the reverse of :func:`pack`."""
    found: list[tuple[int, dict[str, Any]]] = []
    #: The first piece of each entry that was stored in pieces.
    begun: dict[str, dict[str, Any]] = {}
    for message in messages:
        entries, piece_of = message["entries"], message.get("piece_of")
        if piece_of in begun:
            begun[piece_of]["text"] += entries[0]["text"]
            continue
        if piece_of is not None:
            begun[piece_of] = entries[0]
        found += [(message["attempt"], entry) for entry in entries]
    found.sort(key=lambda item: (item[0], item[1]["seq"]))
    return [entry for _, entry in found]
