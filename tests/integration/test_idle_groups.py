"""Memberships in the groups of idle workers, as they are taken up and ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from pyoco_server.bridge.hints import Hints
from pyoco_server.contract import names
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import PATIENCE_SEC, eventually

SUBJECT = "pyoco.work.a"


@pytest.fixture
def connect(nats: NatsServer) -> Iterator[Callable[[], Parts]]:
    """Makes connections beside the test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(Parts(nats.url))


class Member:
    """A worker that hears, and has room for what it hears or not."""

    def __init__(self, parts: Parts, *, has_room: bool = True) -> None:
        self.parts = parts
        self.has_room = has_room
        self.heard: list[str] = []
        self.hints: Hints = parts.queue.hints(["a"], self._hear)
        self.hints.join(["a"])
        self.settle()

    def _hear(self, tag: str) -> bool:
        self.heard.append(tag)
        return self.has_room

    def settle(self) -> None:
        """Let NATS take what was sent to it, and what it has sent arrive."""
        self.parts.bus.server_time("PYOCO_WORK")


@contextlib.contextmanager
def held(parts: Parts) -> Iterator[None]:
    """Keep a bridge from reading: what comes meanwhile comes together."""
    is_held, goes_on = threading.Event(), threading.Event()

    async def wait() -> None:
        is_held.set()
        goes_on.wait(PATIENCE_SEC)

    parts.bus.spawn(wait())
    assert is_held.wait(PATIENCE_SEC)
    try:
        yield
    finally:
        goes_on.set()


def publish(parts: Parts, count: int) -> None:
    """Each job once, for tests that count: a write whose answer is late is sent again, and heard of again."""

    async def publish_each() -> None:
        for _ in range(count):
            await parts.bus.connection.publish(SUBJECT, b"{}")

    parts.bus.call(publish_each(), timeout_sec=30)


def test_member_without_room_leaves_the_group_and_those_who_have_some_hear_of_every_job(
    parts: Parts, connect: Callable[[], Parts]
) -> None:
    other = connect()
    idle, busy = Member(parts), Member(other, has_room=False)
    publish(parts, 30)
    eventually(lambda: len(idle.heard) == 30, what="word of all jobs", timeout_sec=30)
    # What came before NATS knew that it had left, it passed on as well.
    eventually(lambda: busy.heard, what="a hint that was passed on", timeout_sec=30)
    before = len(busy.heard)
    publish(parts, 30)
    eventually(lambda: len(idle.heard) == 60, what="word of all jobs", timeout_sec=30)
    busy.settle()
    assert len(busy.heard) == before
    busy.has_room = True
    busy.hints.join(["a"])
    busy.settle()
    publish(parts, 30)
    eventually(lambda: len(idle.heard) + len(busy.heard) == 90 + before, what="word of all jobs", timeout_sec=30)
    assert len(busy.heard) > before


def test_hint_that_no_member_has_room_for_does_not_go_round(parts: Parts, connect: Callable[[], Parts]) -> None:
    members = [Member(connect(), has_room=False) for _ in range(3)]
    publish(parts, 1)
    eventually(lambda: all(member.heard for member in members), what="word of the job", timeout_sec=30)
    for member in members:
        member.settle()
    assert [member.heard for member in members] == [["a"]] * 3


def test_hints_that_come_together_do_not_come_back_to_the_member_that_passes_them_on(
    parts: Parts, connect: Callable[[], Parts]
) -> None:
    """All but the first were passed on before the group was left, and came back to its only member."""
    sent: list[object] = []
    hint = names.hint_subject(SUBJECT)
    parts.bus.call(parts.bus.subscribe(hint, sent.append), timeout_sec=30)
    busy = Member(connect(), has_room=False)

    async def hint_together() -> None:
        for _ in range(30):
            await parts.bus.connection.publish(hint)

    for _ in range(5):
        sent.clear()
        busy.heard.clear()
        busy.hints.join(["a"])
        busy.settle()
        with held(busy.parts):
            parts.bus.call(hint_together(), timeout_sec=30)
            # By then all are on their way to the member, too, which has not been able to leave.
            eventually(lambda: len(sent) >= 30, what="all hints", timeout_sec=30)
        eventually(lambda: len(sent) >= 60, what="all that are passed on", timeout_sec=30)
        busy.settle()
        assert len(busy.heard) == 30


def test_group_that_is_left_when_the_connection_is_lost_is_not_joined_again_by_the_reconnect(
    parts: Parts, connect: Callable[[], Parts], nats: NatsServer
) -> None:
    """Half of all hints came to a member that nobody listened to any more."""
    leaving = Member(connect())
    stays = Member(parts)
    nats.send(signal.SIGSTOP)
    leaving.hints.leave()
    # So long until what leaves the group is on its way, and cannot be answered.
    leaving.parts.bus.call(asyncio.sleep(0.2), timeout_sec=30)
    nats.stop(signal.SIGKILL)
    nats.start()
    eventually(lambda: leaving.parts.bus.is_connected, what="the connection again", timeout_sec=60)
    eventually(lambda: stays.parts.bus.is_connected, what="the connection again", timeout_sec=60)
    for member in (leaving, stays):
        member.settle()
    publish(parts, 30)
    eventually(lambda: len(stays.heard) == 30, what="word of all jobs", timeout_sec=30)
