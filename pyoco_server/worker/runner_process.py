"""The operating system's side of a runner: the process, and its ends of the line to the worker.

Source: design, section 6.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from pyoco_server.config import environment_for_runs


class Ends(NamedTuple):
    """The descriptors that a runner gets; ``events`` is a pipe of its own, for 1 and 2 belong to the tasks."""

    stdin: int
    stdout: int
    stderr: int
    events: int


class RunnerProcess(Protocol):
    """A process, as :class:`subprocess.Popen` has it. It leads a process group."""

    pid: int
    returncode: int | None

    @property
    def session(self) -> int:
        """The number of its session."""

    def poll(self) -> int | None:
        """Give the exit status, negative for a signal; ``None`` while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end.

        :param timeout: in seconds; ``None`` = for ever.
        :raises subprocess.TimeoutExpired: it runs on.
        """


class Interpreter(subprocess.Popen[bytes]):
    """A process that leads a session of its own."""

    @property
    def session(self) -> int:
        return self.pid


def start_interpreter(flags: Sequence[str], **streams: Any) -> Interpreter:
    """Start the runner's program; the calling thread must live as long as the process shall (PR_SET_PDEATHSIG).

    :param streams: what ``Popen`` is told of descriptors.
    :raises OSError: there are no processes left.
    """
    return Interpreter(
        [sys.executable, "-m", "pyoco_server.runner", f"--parent-pid={os.getpid()}", *flags],
        bufsize=0,
        start_new_session=True,
        # Also for the C library: what its buffer holds would come out under a later task, or never.
        env={**environment_for_runs(), "PYTHONUNBUFFERED": "1"},
        **streams,
    )


def spawn(flags: Sequence[str], output_token: str, ends: Ends) -> RunnerProcess:
    """Start a runner in an interpreter of its own: see :func:`start_interpreter`."""
    return start_interpreter(
        [f"--events-fd={ends.events}", f"--output-token={output_token}", *flags],
        stdin=ends.stdin,
        stdout=ends.stdout,
        stderr=ends.stderr,
        pass_fds=(ends.events,),
    )


def in_words(code: int) -> str:
    """Turn the end of a process into a clause."""
    if code >= 0:
        return f"ended with exit status {code}"
    if -code == signal.SIGKILL:
        return "was killed by SIGKILL, which is also what the kernel does when memory runs out"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
