"""What comes and goes over the bridge: plain values, never an object of nats-py."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

T = TypeVar("T")

#: Carried by a message that expires by itself (ADR-43).
TTL_HEADER = "Nats-TTL"


@dataclass(frozen=True)
class Write:
    """One message for a stream, which the server confirms.

    :param expected_revision: last sequence that the subject must have (0 = none yet); the write is refused with
        ``RevisionConflict`` otherwise. ``None`` writes unconditionally.
    :param expected_of: the subjects whose last sequence that is, where it is not the message's own alone; a pattern.
    :param is_rollup: the message takes the place of all others of its subject.
    :param ttl_sec: the message expires after so many seconds, at least one; ``None`` = it stays.
    :param msg_id: the server stores a message of the same id once within the stream's duplicate window.
    :param told: headers of our own.
    :param previous_header: name of one more, which tells the sequence of the message that is written before this one.
    """

    subject: str
    payload: bytes
    expected_revision: int | None = None
    msg_id: str | None = None
    expected_of: str | None = None
    is_rollup: bool = False
    ttl_sec: int | None = None
    told: Mapping[str, str] = field(default_factory=dict)
    previous_header: str | None = None

    def after(self, previous_seq: int) -> Write:
        """Give the write as it is made after another one, whose sequence is known now."""
        if self.previous_header is None:
            return self
        return replace(self, told={**self.told, self.previous_header: str(previous_seq)}, previous_header=None)

    @functools.cached_property
    def headers(self) -> dict[str, str] | None:
        headers = dict(self.told)
        if self.expected_revision is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self.expected_revision)
        if self.expected_of is not None:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = self.expected_of
        if self.is_rollup:
            headers["Nats-Rollup"] = "sub"
        if self.msg_id is not None:
            headers["Nats-Msg-Id"] = self.msg_id
        if self.ttl_sec is not None:
            headers[TTL_HEADER] = f"{self.ttl_sec}s"
        return headers or None


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How something ended for which nobody waited.

    :param has_failed: whether there is no result.
    :param result: gives it, or raises why there is none; to be called once.
    """

    has_failed: bool
    result: Callable[[], T]


@dataclass(frozen=True)
class Stored:
    """A message as it lies in a stream.

    :param seq: its sequence; in a KV bucket the revision of the key.
    :param stored_at: when the server stored it, unix seconds by the server's clock.
    """

    subject: str
    payload: bytes
    seq: int
    stored_at: float
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Delivery:
    """One hand-out of a queued job; whoever holds it must end it by ack, nak or term.

    :param seq: the job's sequence in the work stream: the same on every redelivery.
    :param num_delivered: 1 for the first hand-out.
    :param reply: where its acknowledgement goes.
    :param told: the headers of the job.
    """

    subject: str
    payload: bytes
    seq: int
    num_delivered: int
    reply: str
    told: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Waiting:
    """What waits for a consumer. Jobs that were handed back or whose lease is over are not counted.

    :param count: jobs that could be delivered now.
    :param is_held_back: whether more wait, which MaxAckPending keeps back until others have ended.
    """

    count: int
    is_held_back: bool


@dataclass(frozen=True)
class Change:
    """One message of a followed stream.

    :param is_removal: the key was deleted, purged or has expired.
    :param stored_at: when the server stored it, unix seconds by the server's clock.
    :param expires: whether it was stored with an expiry.
    """

    subject: str
    payload: bytes
    seq: int
    is_removal: bool
    stored_at: float = 0.0
    expires: bool = False


def delivery_counts(reply: str) -> tuple[int, int, int]:
    """Read ``num_delivered``, stream sequence and consumer sequence from an acknowledgement subject.

    Source: ADR-15; ``$JS.ACK`` has 9 tokens, or 11 and more with domain and account.
    """
    tokens = _ack_tokens(reply)
    return int(tokens[0]), int(tokens[1]), int(tokens[2])


def stored_at(reply: str) -> float:
    """Read from an acknowledgement subject when the message was stored, unix seconds by the server's clock."""
    return int(_ack_tokens(reply)[3]) / 1e9


def pending_count(reply: str) -> int:
    """Read from an acknowledgement subject how many more messages wait for this consumer."""
    return int(_ack_tokens(reply)[4])


def _ack_tokens(reply: str) -> list[str]:
    """Give ``num_delivered``, stream sequence, consumer sequence, time and pending count."""
    tokens = reply.split(".")
    return tokens[4:] if len(tokens) == 9 else tokens[6:]
