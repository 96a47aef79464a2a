"""Which processes are ended with a worker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pyoco_server.worker.child import Child
from pyoco_server.worker.process_group import ProcessGroup
from pyoco_server.worker.wheel_set import NO_WHEELS
from tests.support.waiting import PATIENCE_SEC, eventually

#: Leads a group, in which another process stays. Each says when it is there, in one piece: neither in the midst of the
#: other's line.
_LEADER = "import os, time; os.write(1, b'%d\\n' % (os.fork() and os.getpid())); time.sleep(600)"


@contextlib.contextmanager
def process(script: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    """Start a process, and end its group."""
    started = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, **options)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        # With the ends of its pipes.
        started.communicate()


class Gone:
    """A runner whose fork server was killed: it is no more, and a stranger has its number."""

    returncode: int | None = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.session = os.getsid(0)

    def poll(self) -> int | None:
        return self.wait()

    def wait(self, timeout: float | None = None) -> int:
        self.returncode = -signal.SIGKILL
        return self.returncode


def test_a_stranger_who_has_got_the_number_of_a_runner_is_left_alone() -> None:
    with process("input()", start_new_session=True, stdin=subprocess.PIPE) as stranger:
        child = Child(lambda token, ends: Gone(stranger.pid), NO_WHEELS, lambda group: None)
        child.terminate()
        child.kill()
        with pytest.raises(ProcessLookupError):
            child.group.signal(signal.SIGKILL)
        assert stranger.stdin is not None
        stranger.stdin.write("it lives\n")
        stranger.stdin.flush()
        assert stranger.wait(PATIENCE_SEC) == 0


def test_what_a_runner_has_left_is_ended_though_the_runner_is_gone() -> None:
    with process(_LEADER, start_new_session=True) as leader:
        assert leader.stdout is not None
        # A line of each of the two.
        assert {leader.stdout.readline(), leader.stdout.readline()} == {"0\n", f"{leader.pid}\n"}
        os.kill(leader.pid, signal.SIGKILL)
        leader.wait()
        ProcessGroup(leader.pid, leader.pid).signal(signal.SIGKILL)
        eventually(lambda: not is_there(leader.pid), what="the end of the other", timeout_sec=PATIENCE_SEC)


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
