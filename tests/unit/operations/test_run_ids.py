"""Ids of runs are random, and nobody gets one twice: no thread, and no process that was forked."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

from pyoco_server.operations.run_ids import new_run_id


def test_an_id_is_a_random_uuid() -> None:
    assert {(uuid.UUID(new_run_id()).version, uuid.UUID(new_run_id()).variant) for _ in range(200)} == {
        (4, uuid.RFC_4122)
    }


def test_threads_get_different_ids() -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: new_run_id(), range(5_000)))
    assert len(set(ids)) == len(ids)


def test_a_forked_process_gets_other_ids_than_its_parent() -> None:
    # What is left from here on would be handed out by both.
    new_run_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, " ".join(new_run_id() for _ in range(40)).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        theirs = pipe.read().decode().split()
    os.waitpid(child, 0)
    assert len(theirs) == 40
    assert not {new_run_id() for _ in range(40)} & set(theirs)
