"""What the queue has told of jobs that it will not hand out any more.

JetStream says it once, to whoever listens, when a job that was delivered as often as is allowed would be due again. A
stream keeps that, so that it does not matter whether a gateway was there.

Source: design, section 5; nats-facts, trap 8.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.streams import remove_message
from pyoco_server.contract import names
from pyoco_server.errors import KeyMissing


@dataclass(frozen=True)
class Exhausted:
    """A job that was delivered too often.

    :param seq: of this word itself.
    :param job_seq: of the job in the work stream; 0 where that cannot be read.
    :param delivery_count: how often it was delivered.
    """

    seq: int
    job_seq: int
    delivery_count: int


class AdvisoryStore:
    """Reads and removes such words."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def read(self, limit: int) -> list[Exhausted]:
        """Give the oldest ones.

        :raises BusUnavailable: no answer.
        """
        found: list[Exhausted] = []
        seq = 1
        while len(found) < limit:
            try:
                stored = self._bus.following(names.ADVISORIES_STREAM, names.EXHAUSTED_SUBJECT, seq)
            except KeyMissing:
                break
            try:
                document = json.loads(stored.payload)
                found.append(Exhausted(stored.seq, int(document["stream_seq"]), int(document["deliveries"])))
            except (ValueError, KeyError, TypeError):
                found.append(Exhausted(stored.seq, 0, 0))
            seq = stored.seq + 1
        return found

    def remove(self, word: Exhausted) -> None:
        """Remove one; one that is gone already is no error.

        :raises BusUnavailable: no answer; safe to repeat.
        """
        remove_message(self._bus, names.ADVISORIES_STREAM, word.seq)
