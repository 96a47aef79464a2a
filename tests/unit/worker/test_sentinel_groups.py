"""What the sentinel waits for before it hands the jobs of a dead worker back."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoco_server.worker import sentinel_process
from pyoco_server.worker.process_group import ProcessGroup
from tests.support.waiting import PATIENCE_SEC, eventually

#: Its first thread ends, another one goes on.
_HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@contextlib.contextmanager
def group(script: str) -> Iterator[int]:
    """Start a process in a group of its own; nobody takes note of its end before the ``with`` block is left."""
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_what_a_worker_that_stopped_in_order_has_left_is_ended_all_the_same() -> None:
    with group("import time; time.sleep(600)") as number:
        told = [["who", {}, "w", "life"], ["group", number, number, True], ["end"]]
        lines = "".join(json.dumps(words) + "\n" for words in told).encode()
        sentinel = [sys.executable, "-m", "pyoco_server.worker.sentinel_process"]
        subprocess.run(sentinel, input=lines, check=True, timeout=PATIENCE_SEC)
        assert state(number) == "Z"


def test_dead_processes_of_which_nobody_takes_note_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel_process, "_GROUPS_SEC", 10 * PATIENCE_SEC)
    with group("import time; time.sleep(600)") as number:
        ending = threading.Thread(
            target=sentinel_process.end_groups, args=([ProcessGroup(number, number)],), daemon=True
        )
        ending.start()
        ending.join(PATIENCE_SEC)
        assert not ending.is_alive()
        assert state(number) == "Z"
        # It is there all the same.
        os.killpg(number, 0)


@pytest.mark.parametrize("script", ["import time; time.sleep(600)", _HEADLESS])
def test_what_may_still_run_is_waited_for(script: str) -> None:
    with group(script) as number:
        if script is _HEADLESS:
            eventually(lambda: state(number) == "Z", what="the end of the first thread", timeout_sec=PATIENCE_SEC)
        assert sentinel_process._is_alive(number)
