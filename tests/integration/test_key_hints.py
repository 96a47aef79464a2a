"""Word of writes to one subject, at the moment they are made."""

from __future__ import annotations

import asyncio

from pyoco_server.bridge.key_hints import KeyHints
from pyoco_server.bridge.messages import Write
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

SUBJECT, OTHER = "$KV.pyoco_runs.r1", "$KV.pyoco_runs.r2"


def tasks_of(parts: Parts) -> int:
    """Count what lives on the loop thread."""

    async def count() -> int:
        return len(asyncio.all_tasks())

    return parts.bus.call(count(), timeout_sec=30)


def test_a_write_is_heard_once_by_each_who_listens_and_by_nobody_afterwards(parts: Parts) -> None:
    hints = KeyHints(parts.bus)
    heard: list[list[bytes]] = [[], []]
    with hints.listen(SUBJECT, heard[0].append):
        with hints.listen(SUBJECT, heard[1].append):
            parts.bus.write(Write(OTHER, b"of another"), Write(SUBJECT, b"one"))
            eventually(lambda: heard == [[b"one"], [b"one"]], what="word of the first write")
        parts.bus.write(Write(SUBJECT, b"two"))
        eventually(lambda: heard[0] == [b"one", b"two"], what="word of the second write")
    parts.bus.write(Write(SUBJECT, b"three"))
    parts.bus.server_time("KV_pyoco_runs")
    assert heard == [[b"one", b"two"], [b"one"]]


def test_who_listens_costs_the_loop_no_task(parts: Parts) -> None:
    """Each run that is executed listens: none may cost a task and its wake-ups."""
    hints = KeyHints(parts.bus)
    before = tasks_of(parts)
    heard: list[bytes] = []
    with hints.listen(SUBJECT, heard.append):
        parts.bus.write(Write(SUBJECT, b"one"))
        eventually(lambda: heard, what="word of the write")
        assert tasks_of(parts) == before


def test_who_listens_is_told_that_the_connection_was_lost_and_hears_on(parts: Parts, nats: NatsServer) -> None:
    heard: list[bytes] = []
    with KeyHints(parts.bus).listen(SUBJECT, heard.append):
        parts.bus.write(Write(SUBJECT, b"one"))
        eventually(lambda: heard == [b"one"], what="word of the write")
        nats.stop()
        nats.start()
        eventually(lambda: b"" in heard, what="word of the gap", timeout_sec=60)
        parts.bus.write(Write(SUBJECT, b"two"), budget_sec=30)
        eventually(lambda: heard[-1] == b"two", what="word of the next write", timeout_sec=30)
