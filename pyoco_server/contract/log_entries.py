"""What a run has printed, entry by entry: where an entry lies in the stream, and how it reads as text.

Source: contract, section 3 (``GET /runs/{run_id}/logs``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from pyoco_server.contract.moments import is_moment

#: What moves a terminal's cursor, sends it commands or turns the direction of what follows, and halves of characters.
#: A tab and the spaces of all scripts are harmless.
_HARMFUL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PLACE = re.compile(r"([0-9]{1,18})\.([0-9]{1,9})")
_NOTHING = "-"
#: What a failed run's snapshot carries: so many of its last lines, and characters at most.
_LAST_LINES = 20
LAST_CHARS = 4_096


@dataclass(frozen=True, order=True)
class LogPlace:
    """Where an entry lies: the sequence of its message (of the last, where it takes several) and its index there.

    Places of one run rise in the order in which its entries were stored.
    """

    seq: int
    index: int

    def __str__(self) -> str:
        return f"{self.seq}.{self.index}"

    @classmethod
    def parse(cls, text: str) -> LogPlace:
        """Read what :meth:`__str__` has written.

        :raises ValueError: it is no place.
        """
        match = _PLACE.fullmatch(text)
        if match is None:
            raise ValueError("must be the id of an event of this log, such as 1024.0")
        return cls(int(match[1]), int(match[2]))


#: Before the first entry of all.
BEGINNING = LogPlace(0, 0)


@dataclass
class LogEntry:
    """Something that a run has printed.

    :param fields: as it was sent: ``seq task stream text timestamp``, and maybe more.
    """

    place: LogPlace
    attempt: int
    fields: dict[str, Any]

    def is_of(self, task: str) -> bool:
        """Say whether a task has printed it; an empty name stands for all, and for what no task has printed."""
        return not task or self.fields.get("task") == task


@dataclass(frozen=True)
class LogLine:
    """One line as people read it: nothing in it drives a terminal.

    :param at: unix seconds; ``None`` where that is not known.
    :param task: empty where no task has printed it.
    """

    at: float | None
    task: str
    stream: str
    text: str

    @property
    def moment(self) -> str:
        """The time with its milliseconds, in UTC; a dash where it is not known."""
        if self.at is None:
            return _NOTHING
        whole, ms = divmod(round(self.at * 1000), 1000)
        return f"{datetime.fromtimestamp(whole, timezone.utc):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"

    def __str__(self) -> str:
        return f"{self.moment} {self.task or _NOTHING} {self.stream or _NOTHING} | {self.text}"


def lines_of(fields: Mapping[str, Any]) -> Iterator[LogLine]:
    """Give the lines of an entry: one where a worker of ours has sent it, any number where pyoco's own has."""
    at, task, stream = fields.get("timestamp"), fields.get("task"), fields.get("stream")
    for line in str(fields.get("text", "")).removesuffix("\n").split("\n"):
        yield LogLine(
            at if is_moment(at) else None,
            harmless(str(task or "")),
            harmless(str(stream or "")),
            harmless(line.removesuffix("\r")),
        )


def split_lines(text: str) -> list[str]:
    """Give the lines of a text with their ends; ``str.splitlines`` knows a dozen other ends."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def last_lines(text: str) -> str | None:
    """Give what of a run's output a failed run's snapshot carries; ``None`` of an empty text.

    :param text: the output, or as much of its end as that is cut from.
    """
    return "".join(split_lines(text[-LAST_CHARS:])[-_LAST_LINES:]) or None


def harmless(text: str) -> str:
    """Write as Python would (``\\\\x1b``) what would drive a terminal or could not be encoded; a tab stays."""
    return _HARMFUL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
