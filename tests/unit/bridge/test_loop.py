"""The loop thread: whom it tells, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import queue
import socket
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from pyoco_server.bridge.loop import LoopThread
from pyoco_server.bridge.messages import Outcome
from pyoco_server.errors import BusTimeout, BusUnavailable
from pyoco_server.service import Deadline
from tests.support.waiting import PATIENCE_SEC, eventually


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


async def answer(text: str) -> str:
    await asyncio.sleep(0)
    return text


def test_who_does_not_wait_is_told_on_the_loop_s_own_thread(loop: LoopThread) -> None:
    told: queue.SimpleQueue[tuple[str, Outcome[Any]]] = queue.SimpleQueue()

    def tell(outcome: Outcome[Any]) -> None:
        told.put((threading.current_thread().name, outcome))

    loop.begin(answer("yes"), tell)
    thread, good = told.get(timeout=PATIENCE_SEC)
    assert (thread, good.has_failed, good.result()) == (loop.name, False, "yes")
    loop.begin(fail(Held()), tell)
    _, bad = told.get(timeout=PATIENCE_SEC)
    assert bad.has_failed
    with pytest.raises(ValueError, match="Held"):
        bad.result()


@pytest.mark.parametrize("has_begun", [True, False])
def test_who_does_not_wait_is_told_when_the_loop_ends_before_the_result(loop: LoopThread, has_begun: bool) -> None:
    told: queue.SimpleQueue[Outcome[Any]] = queue.SimpleQueue()
    loop.begin(asyncio.sleep(3600), told.put)
    if has_begun:
        loop.call(answer("later"), timeout_sec=PATIENCE_SEC)
    loop.stop(Deadline(5))
    outcome = told.get(timeout=PATIENCE_SEC)
    assert outcome.has_failed
    with pytest.raises(BusTimeout):
        outcome.result()
    with pytest.raises(BusUnavailable):
        loop.begin(answer("no"), told.put)
    assert told.empty()


def test_what_failed_is_let_go_of_without_a_look_for_cycles_whether_somebody_waited_or_not(loop: LoopThread) -> None:
    """A connection, say, with its sockets."""
    called, spawned, begun = Held(), Held(), Held()
    gone = [weakref.ref(called), weakref.ref(spawned), weakref.ref(begun)]
    loop.spawn(fail(spawned))
    loop.begin(fail(begun), lambda outcome: None)
    with pytest.raises(ValueError, match="Held"):
        loop.call(fail(called), timeout_sec=5)
    del called, spawned, begun
    eventually(lambda: [held() for held in gone] == [None] * 3, what="all let go of")


def test_a_step_is_done_on_the_loop_s_own_thread_and_its_error_is_raised(loop: LoopThread) -> None:
    assert loop.do(lambda: threading.current_thread().name) == loop.name
    with pytest.raises(ZeroDivisionError):
        loop.do(lambda: 1 // 0)


def test_work_that_is_begun_on_the_loop_s_own_thread_goes_on_when_that_turns(loop: LoopThread) -> None:
    told: queue.SimpleQueue[Outcome[Any]] = queue.SimpleQueue()
    loop.do(lambda: loop.begin(answer("yes"), told.put))
    assert told.get(timeout=PATIENCE_SEC).result() == "yes"


def test_a_descriptor_is_watched_on_the_loop_s_own_thread_until_nobody_wants_it(loop: LoopThread) -> None:
    near, far = socket.socketpair()
    seen: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()

    def ready() -> None:
        with contextlib.suppress(BlockingIOError):
            seen.put((threading.current_thread().name, near.recv(10)))

    near.setblocking(False)
    with near, far:
        with loop.watching(near.fileno(), ready, every_sec=3600):
            far.sendall(b"x")
            assert seen.get(timeout=PATIENCE_SEC) == (loop.name, b"x")
        far.sendall(b"y")
        loop.call(asyncio.sleep(0.05), timeout_sec=PATIENCE_SEC)
        assert seen.empty()
        with pytest.raises(ZeroDivisionError), loop.watching(near.fileno(), ready, every_sec=3600):
            assert seen.get(timeout=PATIENCE_SEC) == (loop.name, b"y")
            raise ZeroDivisionError
        far.sendall(b"z")
        loop.call(asyncio.sleep(0.05), timeout_sec=PATIENCE_SEC)
        assert seen.empty()


def test_a_silent_descriptor_is_looked_at_every_so_often(loop: LoopThread) -> None:
    near, far = socket.socketpair()
    looks: queue.SimpleQueue[None] = queue.SimpleQueue()
    with near, far, loop.watching(near.fileno(), lambda: looks.put(None), every_sec=0.01):
        for _ in range(5):
            looks.get(timeout=PATIENCE_SEC)
    while not looks.empty():
        looks.get()
    loop.call(asyncio.sleep(0.1), timeout_sec=PATIENCE_SEC)
    assert looks.empty()
