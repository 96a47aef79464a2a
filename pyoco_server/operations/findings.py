"""What a look at an installation finds: plain data, which commands print and a mend can follow.

Source: contract, section 2 (what ``doctor`` reports) and section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

#: The command that makes what is missing and sets what is safe to set.
FIX = "pyoco-nats doctor --fix"


class Severity(str, Enum):
    """How bad it is."""

    WARNING = "warning"  #: it works, and will not do so for ever or under all circumstances
    FAULT = "fault"  #: something does not work

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Change:
    """A change that mends something, and removes nothing that is stored.

    :param stream: the stream whose settings are changed.
    :param consumer: one of its consumers, when it is that one's settings.
    :param settings: in the server's words and units; empty = the stream is missing, and is created, or the consumer is
        of no use, and is removed.
    """

    stream: str
    consumer: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing that somebody should know.

    :param id: names its kind, for monitoring; words with hyphens.
    :param subject: what it is about: a stream, a worker, an address.
    :param text: a sentence.
    :param remedy: the command that mends it, or what else to do.
    :param change: what ``doctor --fix`` does about it; ``None`` = nothing.
    """

    id: str
    severity: Severity
    subject: str
    text: str
    remedy: str
    change: Change | None = None

    def to_document(self) -> dict[str, Any]:
        """Give the JSON object."""
        names = ("id", "subject", "text", "remedy")
        return {
            **{name: getattr(self, name) for name in names},
            "severity": self.severity.value,
            "fixable": self.change is not None,
        }


def fault(id: str, subject: str, text: str, remedy: str) -> Finding:
    """Give a finding that nothing here mends."""
    return Finding(id, Severity.FAULT, subject, text, remedy)


def warning(id: str, subject: str, text: str, remedy: str) -> Finding:
    """Give a warning that nothing here mends."""
    return Finding(id, Severity.WARNING, subject, text, remedy)


def mendable(
    id: str,
    stream: str,
    text: str,
    *,
    severity: Severity = Severity.WARNING,
    consumer: str | None = None,
    **settings: Any,
) -> Finding:
    """Give a finding that ``doctor --fix`` mends.

    :param settings: what it sets; nothing = it creates the stream.
    """
    return Finding(id, severity, consumer or stream, text, FIX, Change(stream, consumer, settings))
