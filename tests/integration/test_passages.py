"""Reading on in a subject by direct get, whatever answers that."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import nats.aio.msg
import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.passages import passage
from tests.support.parts import Parts

STREAM, SUBJECT = "PYOCO_LOGS", "pyoco.logs.r"

Answer = tuple[dict[str, str], bytes]


def message(seq: int, before: int | None) -> Answer:
    """Make the answer with a message; ``before`` is the one before it in the batch."""
    headers = {"Nats-Stream": STREAM, "Nats-Subject": SUBJECT, "Nats-Sequence": str(seq)}
    if before is not None:
        headers |= {"Nats-Num-Pending": "9", "Nats-Last-Sequence": str(before)}
    return headers, b"%d" % seq


END: Answer = ({"Status": "204", "Description": "EOB"}, b"")
NONE: Answer = ({"Status": "404", "Description": "Message Not Found"}, b"")


class Replica:
    """Answers direct gets in the place of the server, which does not for a stream that does not allow them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._subscription: Any = None
        #: Gives the answers to a request by the sequence from which it reads.
        self.answer: Callable[[int], list[Answer]] = lambda seq: [NONE]
        self.asked: list[int] = []
        self._answering: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Replica:
        self._parts.bus.call(self._begin(), timeout_sec=5)
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.bus.call(self._subscription.unsubscribe(), timeout_sec=5)

    async def _begin(self) -> None:
        self._subscription = await self._parts.bus.subscribe(f"$JS.API.DIRECT.GET.{STREAM}", self._take)

    def _take(self, request: nats.aio.msg.Msg) -> None:
        answering = asyncio.create_task(self._answer(request))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)

    async def _answer(self, request: nats.aio.msg.Msg) -> None:
        seq = json.loads(request.data)["seq"]
        self.asked.append(seq)
        for headers, payload in self.answer(seq):
            await self._parts.bus.connection.publish(request.reply, payload, headers=headers)


@pytest.fixture(scope="module")
def ten(shared_parts: Parts) -> Parts:
    """Ten messages of the subject, at odd sequences, each with its sequence as its text."""
    for seq in range(1, 20, 2):
        shared_parts.bus.write(Write(SUBJECT, b"%d" % seq), Write("pyoco.logs.other", b"x"))
    return shared_parts


@pytest.fixture
def replica(ten: Parts) -> Iterator[Replica]:
    ten.configure(STREAM, allow_direct=False)
    with Replica(ten) as opened:
        yield opened


def read(parts: Parts, first_seq: int = 1, last_seq: int = 19) -> list[int]:
    found = [*passage(parts.bus, STREAM, SUBJECT, first_seq, last_seq)]
    assert all(part.payload == b"%d" % part.seq for part in found)
    return [part.seq for part in found]


ALL = list(range(1, 20, 2))


@pytest.mark.parametrize("is_direct", [True, False])
def test_all_messages_between_two_are_given_in_order(ten: Parts, is_direct: bool) -> None:
    ten.configure(STREAM, allow_direct=is_direct)
    assert read(ten) == ALL
    assert read(ten, 4, 11) == [5, 7, 9, 11]
    assert read(ten, 20, 19) == []
    # The last one has been removed meanwhile.
    assert read(ten, 18, 99) == [19]


def test_what_a_replica_does_not_have_yet_comes_from_the_leader(ten: Parts, replica: Replica) -> None:
    """It has the first four, and the next one only when it is asked for what follows that."""
    replica.answer = lambda seq: (
        [message(1, 0), message(3, 1), message(5, 3), message(7, 5), END] if seq == 1 else [NONE]
    )
    assert read(ten) == ALL
    assert replica.asked == [1, *range(8, 20, 2)]


def test_a_gap_in_the_answers_is_read_again(ten: Parts, replica: Replica) -> None:
    batch = [message(seq, max(0, seq - 2)) for seq in ALL]
    # As after a connection that was lost and came back in the midst of them.
    replica.answer = lambda seq: [*batch[:3], *batch[6:], END] if seq == 1 else [NONE]
    assert read(ten) == ALL
    assert replica.asked[:2] == [1, 6]


def test_a_server_that_knows_no_batches_gives_one_message_at_a_time(ten: Parts, replica: Replica) -> None:
    replica.answer = lambda seq: [message(seq if seq % 2 else seq + 1, None)]
    began_at = time.monotonic()
    assert read(ten) == ALL
    # It says nothing behind its message, and waiting for that takes two seconds each time.
    assert time.monotonic() - began_at < 10
    assert replica.asked == [1, *range(2, 20, 2)]


def test_a_replica_that_falls_silent_is_not_waited_for_for_long(ten: Parts, replica: Replica) -> None:
    replica.answer = lambda seq: [message(1, 0), message(3, 1)] if seq == 1 else [NONE]
    assert read(ten) == ALL
