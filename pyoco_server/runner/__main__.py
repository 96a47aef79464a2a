"""The runner: a process of a worker that executes runs, one after the other, and never talks to NATS.

It ends with its worker in two ways: the kernel kills it when what made it ends (Linux), the process that it was forked
from or else a thread of the worker, and the end of its stdin tells it so anywhere.

Source: design, section 6.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO

from pyoco_server.contract.runner_protocol import (
    EXIT_BOOT_FAILED,
    EXIT_ORPHANED,
    Begin,
    BootFailed,
    Cancel,
    Message,
    Ready,
    decode,
    encode,
)
from pyoco_server.errors import PyocoServerError
from pyoco_server.runner import fork_server

#: In place of the events pipe, in a process that was forked.
_NO_FD = -1
#: prctl(2): the signal that this process gets when its creator ends.
_PR_SET_PDEATHSIG = 1


class Runner:
    """Takes runs from stdin and reports to the events pipe.

    :param events_fd: the pipe's descriptor.
    """

    def __init__(self, events_fd: int) -> None:
        self._events_fd = events_fd
        self._events_lock = threading.Lock()
        self._begins: queue.SimpleQueue[Begin] = queue.SimpleQueue()
        self._forking = threading.local()

    def observe_forks(self) -> None:
        """Make a process that a task forks one that is none of ours.

        From the fork on it must end by SIGTERM: what comes before it has left our handler waits until then.
        """
        os.register_at_fork(before=self._forks, after_in_parent=self._has_forked, after_in_child=self._is_forked)

    def _forks(self) -> None:
        self._forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def _has_forked(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._forking.mask)

    def _is_forked(self) -> None:
        if self._events_fd != _NO_FD:
            # Only in the first generation: what that one makes of its signals is its own business.
            os.close(self._events_fd)
            self._events_fd = _NO_FD
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._has_forked()

    def serve(
        self,
        jobs: IO[bytes],
        resolver_spec: str | None,
        output_token: str,
        log_level: str,
        allow: list[str],
        wheels: list[str],
    ) -> int:
        """Boot, then execute runs until the worker ends this process.

        :param allow: patterns of what may be executed; none = everything.
        :param wheels: folders of unpacked wheels. Each is named by its hash, so what is in them does not change.
        :return: the exit status.
        """
        # Heavy imports come after the guard against a worker that is gone already.
        from pyoco_server.runner import flows
        from pyoco_server.runner.allowed import Allowed
        from pyoco_server.runner.executor import Executor
        from pyoco_server.runner.output import TaskOutput
        from pyoco_server.runner.sources import Sources

        sources = Sources(wheels)
        try:
            resolver = flows.load_resolver(resolver_spec) if resolver_spec else None
        except PyocoServerError as exc:
            self._emit(BootFailed(str(exc)))
            return EXIT_BOOT_FAILED
        output = TaskOutput(output_token)
        output.install(log_level)
        os.register_at_fork(after_in_child=output.forked)
        self.observe_forks()
        executor = Executor(resolver, self._emit, output.of_task, Allowed(allow))
        threading.Thread(target=self._read, args=(jobs, executor.cancel), name="pyoco-jobs", daemon=True).start()
        self._emit(Ready(os.getpid(), sources.imported()))
        # By descriptor, because its name may be gone when a run has ended.
        home = os.open(".", os.O_RDONLY)
        while True:
            begin = self._begins.get()
            threads_before = set(threading.enumerate())
            output.run_begins()
            sources.run_begins()
            ended = executor.execute(begin)
            os.fchdir(home)
            left = set(threading.enumerate()) - threads_before
            is_reusable = not left and not _has_children()
            self._emit(dataclasses.replace(ended, is_reusable=is_reusable, sources=sources.imported()))

    def _read(self, jobs: IO[bytes], cancel: Callable[[str], None]) -> None:
        """Read the worker's lines; their end means that the worker is gone, and so must be all that it began."""
        try:
            for line in jobs:
                message = decode(line)
                if isinstance(message, Begin):
                    self._begins.put(message)
                elif isinstance(message, Cancel):
                    # It may overtake the run's beginning.
                    cancel(message.run_id)
        except Exception:
            # A runner that cannot hear its worker must not look alive.
            traceback.print_exc()
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(EXIT_ORPHANED)

    def _emit(self, message: Message) -> None:
        data = memoryview(encode(message))
        with self._events_lock:
            try:
                while data:
                    data = data[os.write(self._events_fd, data) :]
            except BrokenPipeError:
                os._exit(EXIT_ORPHANED)


def main() -> int:
    """Run a runner, or what runners are forked from; the command line is the worker's business."""
    parser = argparse.ArgumentParser(prog="pyoco_server.runner")
    parser.add_argument("--control-fd", type=int, help="fork runners; see fork_server.py")
    parser.add_argument("--events-fd", type=int, help="be a runner; its events go there")
    parser.add_argument("--output-token", help="of that runner")
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--flow-resolver")
    parser.add_argument("--log-level", required=True)
    parser.add_argument("--path", action="append", default=[], help="a wheel's folder; may be repeated")
    parser.add_argument("--allow", action="append", default=[], help="a pattern of what may be executed")
    parser.add_argument("--memory-bytes", type=int)
    args = parser.parse_args()
    _die_with_parent(args.parent_pid)
    _import_from(args.path)
    # A service manager sends SIGTERM to the whole worker, and how runs end is for the worker to say. By a handler: what
    # is merely ignored would be ignored by the programs that tasks start, too.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    # Whoever has started the worker may ignore it: then nobody could reap, and a number would be free at once.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if args.control_fd is None:
        ends = _own_ends(args.events_fd, args.output_token)
    else:
        server_pid = os.getpid()
        ends = fork_server.serve(args.control_fd)
        _die_with_parent(server_pid)
    if args.memory_bytes is not None:
        # Each program that a task starts inherits the limit, for itself.
        resource.setrlimit(resource.RLIMIT_AS, (args.memory_bytes, args.memory_bytes))
    runner = Runner(ends.events_fd)
    return runner.serve(ends.jobs, args.flow_resolver, ends.output_token, args.log_level, args.allow, args.path)


def _own_ends(events_fd: int, output_token: str) -> fork_server.Ends:
    """Give the ends of a process that was started as a runner.

    Neither a task nor a program that it starts may read the worker's lines or write events.
    """
    os.set_inheritable(events_fd, False)
    jobs = os.fdopen(os.dup(0), "rb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return fork_server.Ends(jobs, events_fd, output_token)


def _has_children() -> bool:
    """Say whether a process is left that a task has started, ended or not."""
    if not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _import_from(folders: list[str]) -> None:
    """Put folders into ``sys.path`` where installed packages stand: before those, and behind Python's own modules."""
    installed = (index for index, path in enumerate(sys.path) if path.endswith(("site-packages", "dist-packages")))
    at = next(installed, len(sys.path))
    sys.path[at:at] = folders


def _die_with_parent(parent_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
