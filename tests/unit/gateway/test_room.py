"""Large bodies take turns."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoco_server.errors import TooMuchInWork
from pyoco_server.gateway.room import FREE_BYTES, MAX_WAITING, Room
from tests.support.waiting import eventually

LARGE = 10 * FREE_BYTES
NEVER_SEC = 600.0


def test_small_bodies_need_no_room() -> None:
    room = Room(LARGE, wait_sec=0)
    room.take(LARGE)
    assert room.take(FREE_BYTES) == 0


def test_bodies_are_in_work_together_as_long_as_they_fit() -> None:
    room = Room(LARGE, wait_sec=0)
    taken = [room.take(LARGE // 2) for _ in range(2)]
    with pytest.raises(TooMuchInWork):
        room.take(LARGE // 2)
    room.release(taken[0])
    assert room.take(LARGE // 2) == LARGE // 2


def test_one_that_is_larger_than_all_room_is_in_work_alone() -> None:
    room = Room(LARGE, wait_sec=0)
    taken = room.take(2 * LARGE)
    with pytest.raises(TooMuchInWork):
        room.take(FREE_BYTES + 1)
    room.release(taken)
    assert room.take(LARGE) == LARGE


def test_who_waits_is_served_when_there_is_room() -> None:
    room = Room(LARGE, wait_sec=NEVER_SEC)
    in_work = 0
    at_once: list[int] = []
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal in_work
        taken = room.take(LARGE // 2)
        with lock:
            in_work += 1
            at_once.append(in_work)
        with lock:
            in_work -= 1
        room.release(taken)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert len(at_once) == 200
    assert max(at_once) <= 2


def test_only_so_many_wait() -> None:
    room = Room(LARGE, wait_sec=NEVER_SEC)
    taken = room.take(LARGE)
    with ThreadPoolExecutor(MAX_WAITING + 4) as pool:
        asked = [pool.submit(room.take, LARGE) for _ in range(MAX_WAITING + 4)]
        refused: list[BaseException | None] = []
        for one in asked:
            one.add_done_callback(lambda done: refused.append(done.exception()))
        eventually(lambda: len(refused) >= 4, what="those who may not wait being refused")
        assert all(isinstance(error, TooMuchInWork) for error in refused)
        for _ in range(MAX_WAITING):
            room.release(taken)
    assert sum(one.exception() is None for one in asked) == MAX_WAITING
