"""The stream of dead letters.

Source: contract, section 2, "Dead letters".
"""

from __future__ import annotations

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.deadletters import DeadLetter


class DeadLetterStore:
    """Publishes dead letters."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self._bus = bus
        self._prefix = config.dlq_subject_prefix
        self._stream = config.dlq_stream

    def publish(self, letter: DeadLetter, *, key: str) -> None:
        """Store a dead letter once.

        :param key: names the failure; the same key again within the stream's duplicate window is the same letter,
            so that a worker that died between letter and acknowledgement does not leave two.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        subject = names.dead_letter_subject(self._prefix, letter.tag)
        self._bus.write(Write(subject, letter.to_bytes(), msg_id=key))

    def count(self) -> int:
        """Count the dead letters that are kept.

        :raises BusUnavailable: no answer.
        """
        return int(self._bus.api(f"STREAM.INFO.{self._stream}")["state"]["messages"])
