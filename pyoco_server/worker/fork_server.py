"""The worker's side of the process that its runners are forked from.

Source: design, section 6; ``runner/fork_server.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from typing import Any

from pyoco_server.contract.runner_protocol import EXIT_HAS_THREADS
from pyoco_server.worker.printed import log_printed
from pyoco_server.worker.process_group import ProcessGroup
from pyoco_server.worker.runner_link import ChildDied
from pyoco_server.worker.runner_process import Ends, in_words, start_interpreter

#: How long an answer may take: a busy disk gives the first one late, for all that is imported before it.
_ANSWER_SEC = 60.0
_ANSWER_BYTES = 4096
#: How long the process may take to end by itself.
_LEAVE_SEC = 2.0
_SHOWN_BYTES = 2_000


class ForkingUnsafe(ChildDied):
    """A process with several threads, of which runners cannot be forked."""


class ForkServer:
    """Such a process; its runners end with it.

    :param flags: of each of its runners.

    The calling thread must live as long as the runners shall (PR_SET_PDEATHSIG).

    :raises OSError: there are no processes or descriptors left.
    """

    def __init__(self, flags: Sequence[str]) -> None:
        # The order of answers tells which question each belongs to.
        self._lock = threading.Lock()
        self._runner_count = 0
        self._is_retired = False
        # A file, because nobody reads a pipe while the process imports what it likes.
        self._printed = tempfile.TemporaryFile()
        self._last_words = ""
        self._has_booted = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_ANSWER_SEC)
        with theirs:
            try:
                self._process = start_interpreter(
                    [f"--control-fd={theirs.fileno()}", *flags],
                    stdin=subprocess.DEVNULL,
                    stdout=self._printed,
                    stderr=self._printed,
                    pass_fds=(theirs.fileno(),),
                )
            except BaseException:
                self._control.close()
                self._printed.close()
                raise

    @property
    def session(self) -> int:
        """The session of the process and its runners, by number."""
        return self._process.session

    def start_runner(self, output_token: str, ends: Ends) -> ForkedProcess:
        """Fork a runner; its ends of the pipes remain the caller's, too.

        :raises OSError: there are no processes or descriptors left.
        :raises ForkingUnsafe: no runner can be forked from such a process.
        :raises ChildDied: the process has ended; another one is needed.
        """
        with self._lock:
            answer = self._ask({"output_token": output_token}, ends)
            if answer is None:
                raise self._death()
            if not self._has_booted:
                self._has_booted = True
                log_printed(self._end_of_printed().splitlines(), {})
            if "errno" in answer:
                raise OSError(answer["errno"], os.strerror(answer["errno"]))
            self._runner_count += 1
        pid = answer["pid"]
        try:
            return ForkedProcess(self, pid)
        except OSError:
            # It may be gone, if this process was killed meanwhile.
            with contextlib.suppress(OSError):
                ProcessGroup(pid, self.session).signal(signal.SIGKILL)
            self.reap(pid)
            raise

    def reap(self, pid: int) -> int:
        """Give the exit status of a runner that has ended, negative for a signal."""
        with self._lock:
            answer = self._ask({"pid": pid})
            self._runner_count -= 1
        self._leave_if_unused()
        # Where the process has ended the kernel has killed its runners.
        return -signal.SIGKILL if answer is None else int(answer["status"])

    def retire(self) -> None:
        """Fork no more runners; the process ends with the last one that there is. On any thread; works twice."""
        self._is_retired = True
        if self._runner_count == 0:
            # Somebody may wait for the first one.
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
        self._leave_if_unused()

    def _leave_if_unused(self) -> None:
        with self._lock:
            if self._is_retired and self._runner_count == 0:
                self._end(_LEAVE_SEC)

    def _ask(self, question: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, int] | None:
        """Give the answer; ``None`` = there will be none any more."""
        data = b""
        # Also when none came in time: an answer that comes late would be taken for the next one's.
        with contextlib.suppress(OSError):
            socket.send_fds(self._control, [json.dumps(question).encode()], fds)
            data = self._control.recv(_ANSWER_BYTES)
        if not data:
            self._end(0)
            return None
        answer: dict[str, int] = json.loads(data)
        return answer

    def _end(self, patience_sec: float) -> None:
        """End the process: by the end of its socket, then by force; works twice."""
        self._control.close()
        try:
            self._process.wait(patience_sec)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if not self._printed.closed:
            self._last_words = self._end_of_printed()
            self._printed.close()

    def _end_of_printed(self) -> str:
        # Not by seek(), since the process goes on writing where this object stands.
        fd = self._printed.fileno()
        return os.pread(fd, _SHOWN_BYTES, max(0, os.fstat(fd).st_size - _SHOWN_BYTES)).decode(errors="replace")

    def _death(self) -> ChildDied:
        if self._process.returncode == EXIT_HAS_THREADS:
            return ForkingUnsafe(
                "What the worker's environment loads into each process starts threads, or /proc does not tell."
            )
        how = in_words(self._process.returncode)
        return ChildDied(f"The process that runners are forked from {how}. {self._last_words}".strip())


class ForkedProcess:
    """A runner that was forked from another process than this one; its calls are those of ``Popen``."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid
        self.session = server.session
        self.returncode: int | None = None
        # Nobody else can have the number: its server has not reaped it, and has just answered.
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._pidfd, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("a runner", timeout or 0)
            self.returncode = self._server.reap(self.pid)
            os.close(self._pidfd)
        return self.returncode


def is_supported() -> bool:
    """Say whether this system can tell of the end of a process that is another one's child."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True
