"""The loop thread: what it leaves behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from pyoco_server.bridge.loop import LoopThread
from pyoco_server.service import Deadline
from tests.support.waiting import eventually


class Held:
    """What a coroutine holds while it runs."""


async def fail(held: Held) -> None:
    raise ValueError(str(held))


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    """A loop that turns, in a program that looks for no cycles."""
    thread = LoopThread()
    thread.start()
    gc.disable()
    yield thread
    gc.enable()
    thread.stop(Deadline(5))


def test_what_failed_is_let_go_of_without_a_look_for_cycles_whether_somebody_waited_or_not(loop: LoopThread) -> None:
    """A connection, say, with its sockets."""
    called, spawned = Held(), Held()
    gone = [weakref.ref(called), weakref.ref(spawned)]
    loop.spawn(fail(spawned))
    with pytest.raises(ValueError, match="Held"):
        loop.call(fail(called), timeout_sec=5)
    del called, spawned
    eventually(lambda: [held() for held in gone] == [None, None], what="both let go of")
