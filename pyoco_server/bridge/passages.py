"""Reading on in a subject of a stream: many messages at a time, and none less than the stream's leader has.

Direct get sends hundreds of messages for one request. Any replica of the stream may answer it, also one that has not
caught up with the leader. So whoever reads asks the leader first how far the subject goes, and what a replica does not
have yet comes from the leader, one by one, as does everything of a stream without direct get.

Source: ADR-31 (direct get, batches).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import NamedTuple

import nats.aio.msg
import nats.errors

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.connection import TRY_TIMEOUT_SEC
from pyoco_server.errors import BusUnavailable, KeyMissing

#: What is asked for at a time; all of it is in memory at once.
_BATCH = 1_000
_BATCH_BYTES = 1024 * 1024
#: The status of the answer where nobody listens, as with a stream that does not allow direct get.
_NO_RESPONDERS = "503"


class Part(NamedTuple):
    """A message as far as one who reads on wants to know it."""

    seq: int
    payload: bytes


def passage(
    bus: Bus, stream: str, subject: str, first_seq: int, last_seq: int, *, budget_sec: float | None = None
) -> Iterator[Part]:
    """Give the messages of a subject from one sequence to another, both included, in order.

    :param last_seq: of a message that the leader has, as :meth:`Bus.last` has told.
    :param budget_sec: for retries of each request to the leader.
    :raises BusUnavailable: no answer; what was given is all there is up to there.
    """
    seq, is_direct = first_seq, True
    while seq <= last_seq:
        answers = _Answers()
        if is_direct:
            bus.call(_ask(bus, answers, stream, subject, seq), timeout_sec=2 * TRY_TIMEOUT_SEC)
            is_direct = answers.is_answered
        found = answers.found
        if not found:
            try:
                stored = bus.following(stream, subject, seq, budget_sec=budget_sec)
            except KeyMissing:
                # It was the last, and its time has come meanwhile.
                return
            found = [Part(stored.seq, stored.payload)]
        for part in found:
            if part.seq > last_seq:
                return
            yield part
        seq = found[-1].seq + 1


class _Answers:
    """What comes for one request: messages without a gap, and a word that these are all.

    :ivar is_answered: whether there is somebody who answers such requests.
    """

    def __init__(self) -> None:
        self.found: list[Part] = []
        self.is_answered = True
        self.ended = asyncio.Event()

    def take(self, message: nats.aio.msg.Msg) -> None:
        headers = message.headers or {}
        seq, before = headers.get("Nats-Sequence"), headers.get("Nats-Last-Sequence")
        self.is_answered = headers.get("Status") != _NO_RESPONDERS
        is_gap = before is not None and int(before) != (self.found[-1].seq if self.found else 0)
        if seq is None or is_gap or self.ended.is_set():
            # All, none, or some were lost with the connection, which is back.
            self.ended.set()
            return
        self.found.append(Part(int(seq), message.data))
        if before is None:
            # A server before 2.11 knows no batches and says nothing after its one message.
            self.ended.set()


async def _ask(bus: Bus, answers: _Answers, stream: str, subject: str, seq: int) -> None:
    """Ask any replica for the next messages; where that fails the leader will tell why."""
    if not bus.is_connected:
        return
    body = json.dumps({"seq": seq, "batch": _BATCH, "max_bytes": _BATCH_BYTES, "next_by_subj": subject}).encode()
    give_up = asyncio.get_running_loop().call_later(TRY_TIMEOUT_SEC, answers.ended.set)
    with contextlib.suppress(nats.errors.Error, OSError, BusUnavailable):
        inbox = bus.new_inbox()
        subscription = await bus.subscribe(inbox, answers.take)
        try:
            await bus.publish(f"$JS.API.DIRECT.GET.{stream}", body, reply=inbox)
            await answers.ended.wait()
        finally:
            give_up.cancel()
            await subscription.unsubscribe()
