"""The stream of dead letters.

Source: contract, section 2, "Dead letters".
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Stored, Write
from pyoco_server.bridge.streams import remove_message
from pyoco_server.config import Config
from pyoco_server.contract import deadletters, names
from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import BusError, BusUnavailable, DeadLetterNotFound, KeyMissing
from pyoco_server.logs import LogId

logger = logging.getLogger(__name__)

#: How many sequences are looked through at once, backwards; more where most of the letters there were removed.
_STRETCH, _MAX_STRETCH = 50, 1_000
#: No letter gets as far, and NATS reads no much larger number.
MAX_LETTER_SEQ = 2**63 - 1


@dataclass(frozen=True)
class StoredLetter:
    """A dead letter with its number.

    :param seq: its sequence, which no other letter of the stream ever has.
    """

    seq: int
    letter: DeadLetter


class DeadLetterStore:
    """Publishes, reads and removes dead letters; what in the stream is none is passed over."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self._bus = bus
        self._stream = config.dlq_stream
        self._prefix = config.dlq_subject_prefix
        self._takes_execution_errors = config.dlq_publish_execution_error

    def publish(self, letter: DeadLetter, *, key: str) -> int | None:
        """Store a dead letter once.

        :param key: names the failure; the same key again within the stream's duplicate window is the same letter,
            so that a worker that died between letter and acknowledgement does not leave two.
        :return: its number; ``None`` where it is of an error in a task and its operator wants no such letters.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        if letter.reason == deadletters.EXECUTION_ERROR and not self._takes_execution_errors:
            return None
        subject = names.dead_letter_subject(self._prefix, letter.tag)
        try:
            return self._bus.write(Write(subject, letter.to_bytes(), msg_id=key))[0]
        except (BusError, BusUnavailable) as exc:
            context = {"run_id": letter.run_id, "tag": letter.tag, "reason": letter.reason}
            logger.warning(
                "a dead letter cannot be published yet: %s",
                exc,
                extra={**context, "err_id": LogId.DEAD_LETTER_NOT_PUBLISHED},
            )
            raise

    def publish_failed(self, ended: Snapshot, reason: str) -> None:
        """Store the dead letter of a run that has ended FAILED, once.

        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        self.publish(DeadLetter.of_run(ended, reason), key=f"failed.{ended.run_id}")

    def count(self) -> int:
        """Count the dead letters that are kept.

        :raises BusUnavailable: no answer.
        """
        return int(self._bus.api(f"STREAM.INFO.{self._stream}")["state"]["messages"])

    def get(self, seq: int) -> StoredLetter:
        """Read a letter by its number.

        :raises DeadLetterNotFound: there is none.
        :raises BusUnavailable: no answer.
        """
        if seq <= MAX_LETTER_SEQ:
            for found in self.forward(None, seq, seq):
                return found
        raise DeadLetterNotFound(seq)

    def ends(self) -> tuple[int, int]:
        """Give the first and the last number that letters have at the moment; the first is the greater where none is.

        :raises BusUnavailable: no answer.
        """
        state = self._bus.api(f"STREAM.INFO.{self._stream}")["state"]
        return int(state["first_seq"]), int(state["last_seq"])

    def forward(self, tag: str | None, first: int, last: int) -> Iterator[StoredLetter]:
        """Read the letters with these numbers, both included, oldest first; one request each.

        :param tag: only those of this routing tag.
        :raises BusUnavailable: no answer.
        """
        subject = names.dead_letter_subject(self._prefix, tag or ">")
        while first <= last:
            try:
                stored = self._bus.following(self._stream, subject, first)
            except KeyMissing:
                return
            if stored.seq > last:
                return
            first = stored.seq + 1
            found = _letter(stored)
            if found is not None:
                yield found

    def backward(self, tag: str | None, before: int | None) -> Iterator[StoredLetter]:
        """Read letters, newest first, by reading stretches forward: a stream is not read in the other direction.

        :param before: only letters with smaller numbers.
        :raises BusUnavailable: no answer.
        """
        first, last = self.ends()
        end = last + 1 if before is None else min(before, last + 1)
        stretch = _STRETCH
        while end > first:
            begin = max(first, end - stretch)
            found = list(self.forward(tag, begin, end - 1))
            yield from reversed(found)
            end = begin
            stretch = _STRETCH if len(found) > stretch // 2 else min(_MAX_STRETCH, 2 * stretch)

    def remove(self, seq: int) -> None:
        """Remove a letter; one that is gone already is no error.

        :raises BusError: the stream's settings do not allow it.
        :raises BusUnavailable: no answer; safe to repeat.
        """
        remove_message(self._bus, self._stream, seq)


def _letter(stored: Stored) -> StoredLetter | None:
    try:
        return StoredLetter(stored.seq, DeadLetter.from_bytes(stored.payload))
    except ValueError:
        return None
