"""Programs that a command starts beside itself: nats-server, nats-bootstrap, a worker.

Each is stopped by SIGTERM with time to end, is started again when it ends by itself (a worker not, when somebody has
told it to), and ends when its parent dies in any way (Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pyoco_server.service import Deadline, Service

logger = logging.getLogger(__name__)

#: Waits before a program that ended by itself is started again; after the last it is given up.
RESTART_PAUSES_SEC = (0.2, 1.0, 2.0, 5.0, 10.0)
#: A program that ran for so long had started well: the waits begin anew.
_STEADY_SEC = 60.0
#: How long what a program has started may outlive it.
_GROUP_SEC = 15.0
#: How long the end of a killed program may take to be seen.
_KILLED_SEC = 2.0
#: prctl(2): the signal that a process gets when its creator ends.
_PR_SET_PDEATHSIG = 1
#: Runs in the new process, in an interpreter that loads nothing: asks for a signal at the parent's death, then
#: becomes the program. A ``preexec_fn`` could deadlock, because the parent has threads.
_LAUNCHER = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGTERM)})
os.getppid() == int(sys.argv[1]) or sys.exit(1)
try: os.execv(sys.argv[2], sys.argv[2:])
except OSError as exc: sys.exit(f"{{sys.argv[2]}}: {{exc.strerror}}")
"""
#: The same for a program that does not end what it has started: stays beside it, and at the parent's death ends the
#: whole group. The kernel tells of that death with each thread that dies, so nothing but a repeated SIGTERM will do:
#: nats-bootstrap takes its nats-server along on SIGINT alone, and not when another one follows.
_GUARD = f"""
import ctypes, os, signal, sys
heard = {{signal.SIGCHLD, signal.SIGUSR1}}
mask = signal.pthread_sigmask(signal.SIG_BLOCK, {{*heard, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}})
program = os.fork()
if not program:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try: os.execv(sys.argv[2], sys.argv[2:])
    except OSError as exc: sys.exit(f"{{sys.argv[2]}}: {{exc.strerror}}")
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGUSR1)})
is_orphan = os.getppid() != int(sys.argv[1])
while True:
    if is_orphan: os.killpg(0, signal.SIGTERM)
    ended, status = os.waitpid(program, os.WNOHANG)
    if ended: break
    is_orphan = signal.sigwait(heard) == signal.SIGUSR1
code = os.waitstatus_to_exitcode(status)
if code < 0: os.kill(os.getpid(), -code)
signal.pthread_sigmask(signal.SIG_SETMASK, mask)
sys.exit(code)
"""


class Program(Service):
    """A child program, what it starts itself, and the thread that waits for its end.

    :param command: absolute path and arguments.
    :param on_exit: called, from the waiting thread, when the program has ended by itself and is given up.
    :param output: file to which its stdout and stderr are added; this process's own when ``None``.
    :param restart_pauses_sec: seconds before each start that follows an end of its own; empty = none follows.
    :param is_kept_up: whether it is started again from the first start on, or only after :meth:`keep_up`; before
        that its end is for the caller to notice.
    :param is_guarded: whether it leaves behind what it has started when this process dies and it gets SIGTERM.
    :param may_leave: whether exit status 0 means that somebody has told it to end, so that it is not started again.
    :param is_killed: whether SIGKILL follows when it has not ended in time. Never for nats-server: it would lose
        what it has not written yet.
    :param pass_fds: descriptors that it inherits.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        on_exit: Callable[[Program], None],
        output: Path | None = None,
        env: Mapping[str, str] | None = None,
        restart_pauses_sec: Sequence[float] = RESTART_PAUSES_SEC,
        is_kept_up: bool = True,
        is_guarded: bool = False,
        may_leave: bool = False,
        is_killed: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        super().__init__(f"pyoco-{name}", on_failure=lambda service: on_exit(self))
        self._label = name
        self._command = list(command)
        self._on_exit = on_exit
        self._output = output
        self._env = dict(env) if env is not None else None
        self._restart_pauses_sec = tuple(restart_pauses_sec)
        self._is_kept_up = is_kept_up
        self._is_guarded = is_guarded
        self._may_leave = may_leave
        self._is_killed = is_killed
        self._pass_fds = tuple(pass_fds)
        self._process: subprocess.Popen[bytes] | None = None
        self._start_error: OSError | None = None
        self._started = threading.Event()
        # A stop must not fall between the decision to start the program and its start.
        self._lock = threading.Lock()

    @property
    def exit_status(self) -> int | None:
        """Exit status of the program, negative for a signal; ``None`` while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def ending(self) -> str:
        """A clause that says how the program ended: "was killed by SIGKILL"."""
        status = self.exit_status
        if status is None or status >= 0:
            return f"ended with exit status {status}"
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-status).name}"
        return f"was killed by signal {-status}"

    def start(self) -> None:
        """Start the program.

        :raises OSError: it cannot be executed.
        """
        # Made by the thread that waits for it: the kernel ties the program's life to that thread.
        super().start()
        self._started.wait()
        if self._start_error is not None:
            raise self._start_error

    def keep_up(self) -> None:
        """Start the program again whenever it ends, from now on."""
        self._is_kept_up = True

    def stop(self, deadline: Deadline) -> bool:
        """End the program, and what it has started, by SIGTERM."""
        if super().stop(deadline):
            return True
        if not self._is_killed:
            return False
        self._signal_group(signal.SIGKILL)
        return super().stop(Deadline(_KILLED_SEC))

    def wake(self) -> None:
        with self._lock:
            self._signal_group(signal.SIGTERM)

    def hurry(self) -> None:
        """Send SIGTERM again: for whom a second one means now. Safe in a signal handler."""
        self._signal_group(signal.SIGTERM)

    def run(self) -> None:
        pauses = iter(self._restart_pauses_sec)
        while self._spawn():
            assert self._process is not None
            began = time.monotonic()
            self._process.wait()
            self._end_group()
            if time.monotonic() - began > _STEADY_SEC:
                pauses = iter(self._restart_pauses_sec)
            if self.is_stopping or not self._is_kept_up or not self._is_restarted(pauses):
                return

    def _spawn(self) -> bool:
        """Start the process, unless the service is to stop; say whether it runs."""
        with self._lock:
            if self.is_stopping:
                return False
            try:
                with contextlib.nullcontext() if self._output is None else self._output.open("ab") as output:
                    self._process = subprocess.Popen(
                        _launched(self._command, self._is_guarded),
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        env=self._env,
                        pass_fds=self._pass_fds,
                        # Ctrl-C reaches the whole terminal; when this program ends is for its parent to say.
                        start_new_session=True,
                    )
            except OSError as exc:
                self._start_error = exc
                if self._started.is_set():
                    raise
            finally:
                self._started.set()
        return self._start_error is None

    def _is_restarted(self, pauses: Iterator[float]) -> bool:
        """Wait before the next start; give up after too many, and at once where it may leave."""
        if self._may_leave and self.exit_status == 0:
            logger.info("%s has ended as somebody told it to, and is not started again", self._label)
            return False
        pause_sec = next(pauses, None)
        if pause_sec is None:
            self._on_exit(self)
            return False
        logger.error("%s %s; it is started again in %g s", self._label, self.ending, pause_sec)
        return not self.pause(pause_sec)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, number)

    def _end_group(self) -> None:
        """End what the program had started, and wait for it: nats-bootstrap goes before its nats-server has ended."""
        assert self._process is not None
        group, deadline = self._process.pid, Deadline(_GROUP_SEC)
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGTERM)
        # There is no event to wait for: these are children of somebody else, or of nobody.
        while _is_alive(group) and not deadline.has_passed:
            time.sleep(0.02)


def _is_alive(group: int) -> bool:
    """Say whether a process group has members."""
    # As process 1 of a container nobody but this process reaps them.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(-group, os.WNOHANG)
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _launched(command: list[str], is_guarded: bool) -> list[str]:
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "prctl"):
        return command
    return [sys.executable, "-I", "-S", "-c", _GUARD if is_guarded else _LAUNCHER, str(os.getpid()), *command]
