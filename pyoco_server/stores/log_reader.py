"""Reading what a run has printed: all of it in the order in which it was stored, or the newest alone."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.passages import Part, passage
from pyoco_server.contract import names
from pyoco_server.contract.log_entries import BEGINNING, LogEntry, LogPlace
from pyoco_server.errors import KeyMissing, PyocoServerError

#: Of the newest so much is read at most; it is all in memory at once.
_MAX_READ_BYTES = 8 * 1024 * 1024
#: Where the newest entries of a task are looked for first, in sequences of the stream before the last of the run; and
#: how much farther back each time after that.
_FIRST_SPAN, _WIDER = 512, 8
#: A reader gives entries when it has so much of them.
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True)
class RunLogs:
    """What a run has printed.

    :param entries: in the order of their attempts and of their ``seq`` within.
    :param is_cut: whether there was more of what was asked for, all of it older, than is read at once.
    :param end: the place of the entry that was stored last; of another task, too.
    """

    entries: list[LogEntry]
    is_cut: bool
    end: LogPlace = BEGINNING


class LogReader:
    """Reads the log of a run from a place on, and goes on as often as it is asked.

    :param after: the last entry that is not wanted any more.
    :param budget_sec: for retries of each request; the connection's own when ``None``.
    """

    def __init__(self, bus: Bus, run_id: str, after: LogPlace = BEGINNING, *, budget_sec: float | None = None) -> None:
        self._bus = bus
        self._subject = names.logs_subject(run_id)
        self._budget_sec = budget_sec
        self._after = after
        #: Where it goes on. The message of the last place is looked at again, for it may hold more than that.
        self._next_seq = after.seq
        self._joining = _Joining()
        #: Entries whose last piece may still be to come, and those behind them.
        self._held: list[LogEntry] = []

    def more(self) -> Iterator[list[LogEntry]]:
        """Give what has been stored since the last call, a part at a time.

        :raises BusUnavailable: no answer; the next call goes on where this one has ended.
        """
        last_seq = _last_seq(self._bus, self._subject, self._budget_sec)
        if self._next_seq == self._after.seq and 0 < last_seq < self._after.seq:
            # The place is of a stream that is no more; in this one sequences count anew.
            self._after, self._next_seq = BEGINNING, 0
        if last_seq < self._next_seq:
            yield self.rest()
            return
        first_seq, budget_sec = max(1, self._next_seq), self._budget_sec
        found: list[LogEntry] = []
        size = 0
        try:
            for stored in passage(
                self._bus, names.LOGS_STREAM, self._subject, first_seq, last_seq, budget_sec=budget_sec
            ):
                self._next_seq = stored.seq + 1
                message = json.loads(stored.payload)
                self._held += self._joining.take(stored.seq, message)
                size += len(stored.payload)
                if message.get("piece_of") is None:
                    found += self.rest()
                if size >= _PIECE_BYTES and found:
                    yield found
                    found, size = [], 0
        except PyocoServerError:
            # The next call goes on behind them.
            yield found
            raise
        yield found

    def rest(self) -> list[LogEntry]:
        """Give what was kept back because more of it might have come."""
        given = [entry for entry in self._held if entry.place > self._after]
        self._held.clear()
        self._joining = _Joining()
        return given


class _Joining:
    """Joins entries that were stored in pieces."""

    def __init__(self) -> None:
        #: By the name that all pieces of an entry share.
        self._begun: dict[str, LogEntry] = {}

    def take(self, seq: int, message: dict[str, Any]) -> list[LogEntry]:
        """Give the entries that begin with a message; one that is in pieces grows with those that follow."""
        entries, piece_of = message["entries"], message.get("piece_of")
        begun = self._begun.get(piece_of) if piece_of is not None else None
        if begun is not None:
            begun.fields["text"] += entries[0]["text"]
            begun.place = LogPlace(seq, 0)
            return []
        found = [LogEntry(LogPlace(seq, index), message["attempt"], each) for index, each in enumerate(entries)]
        if piece_of is not None:
            self._begun[piece_of] = found[0]
        return found


def read_newest(
    bus: Bus,
    run_id: str,
    *,
    task: str = "",
    count: int | None = None,
    budget_sec: float | None = None,
    take_room: Callable[[int], None] = lambda size_bytes: None,
) -> RunLogs:
    """Read the newest entries of a run, as many as :data:`_MAX_READ_BYTES` hold.

    :param task: only those of this task; all when empty.
    :param count: no more than so many; how long the log is besides does not matter then.
    :param budget_sec: for retries of each request; the connection's own when ``None``.
    :param take_room: told how many bytes will become objects, before they do; those of the last time are dropped then.
    :raises BusUnavailable: no answer.
    """
    subject = names.logs_subject(run_id)
    last_seq = _last_seq(bus, subject, budget_sec)
    span = _FIRST_SPAN if count is not None else last_seq
    while True:
        first_seq = max(1, last_seq - span + 1)
        stored, is_cut = _newest(passage(bus, names.LOGS_STREAM, subject, first_seq, last_seq, budget_sec=budget_sec))
        take_room(sum(len(message.payload) for message in stored))
        found = _join(stored)
        wanted = [entry for entry in found if entry.is_of(task)]
        # One more than is wanted: the first may be the rest of one that began earlier.
        if first_seq == 1 or is_cut or (count is not None and len(wanted) > count):
            break
        span *= _WIDER
    end = max((entry.place for entry in found), default=BEGINNING)
    if count is not None and len(wanted) >= count:
        return RunLogs(wanted[-count:], False, end)
    return RunLogs(wanted, is_cut, end)


def _last_seq(bus: Bus, subject: str, budget_sec: float | None) -> int:
    """Ask the leader for the last message of a subject; 0 = there is none."""
    try:
        return bus.last(names.LOGS_STREAM, subject, budget_sec=budget_sec).seq
    except KeyMissing:
        return 0


def _newest(messages: Iterable[Part]) -> tuple[deque[Part], bool]:
    """Keep the newest messages, and say whether there were more."""
    kept: deque[Part] = deque()
    size, is_cut = 0, False
    for stored in messages:
        kept.append(stored)
        size += len(stored.payload)
        while size > _MAX_READ_BYTES:
            size -= len(kept.popleft().payload)
            is_cut = True
    return kept, is_cut


def _join(messages: Iterable[Part]) -> list[LogEntry]:
    joining = _Joining()
    found: list[LogEntry] = []
    for stored in messages:
        found += joining.take(stored.seq, json.loads(stored.payload))
    # A worker may bring what it has printed in another order.
    return sorted(found, key=lambda entry: (entry.attempt, entry.fields["seq"]))
