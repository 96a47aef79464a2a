"""The process that runners are forked from: it has imported what every runner needs, and executes nothing itself.

A fork costs a few milliseconds, a fresh interpreter with pyoco in it a hundred and more. It is safe because there is
one thread here, which is looked at before the first fork: what the environment loads into each interpreter
(``sitecustomize``, a tracer), or a wheel that brings what pyoco imports, may have started others.

The worker asks over a socket of packets (``worker/fork_server.py``), one question at a time, each with one answer:

    {"output_token": <text>} and four descriptors     fork a runner         {"pid": <number>} or {"errno": <number>}
    {"pid": <number>}                                 reap it, it has ended {"status": <exit status>}

A process is reaped only when the worker asks for it: until then nobody else can get its number, unless this process is
killed (``worker/process_group.py``). The end of the socket means that the worker has no runner left, or is gone.

Source: design, section 6.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import socket
import sys
from dataclasses import dataclass
from typing import IO

from pyoco_server.contract.runner_protocol import EXIT_HAS_THREADS

#: What a runner imports by and by, and pyoco in the midst of a run.
_IMPORTS = (
    "pyoco_server.runner.executor",
    "pyoco_server.runner.output",
    "pyoco_server.runner.sources",
    "concurrent.futures.thread",
    "pyoco.dsl.graph",
)
#: A folder for each thread of this process; not where proc(5) is not mounted.
_THREADS = "/proc/self/task"
_QUESTION_BYTES = 4096
#: A runner's stdin, stdout, stderr and events pipe.
_END_COUNT = 4


@dataclass(frozen=True)
class Ends:
    """A runner's ends of the line to its worker.

    :param jobs: the worker's lines.
    :param events_fd: the descriptor of the pipe that takes its events.
    :param output_token: goes into the marks of what is printed.
    """

    jobs: IO[bytes]
    events_fd: int
    output_token: str


def serve(control_fd: int) -> Ends:
    """Fork a runner whenever the worker asks for one; return in each of them.

    :raises SystemExit: the worker needs no more of them, or none can be forked here.
    """
    for module in _IMPORTS:
        importlib.import_module(module)
    # Threads that Python knows nothing of count, too. Locks that they hold would be held in each runner for ever.
    if not os.path.isdir(_THREADS) or len(os.listdir(_THREADS)) > 1:
        # Not by sys.exit(), which waits for those of them that are no daemons.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_HAS_THREADS)
    # A collection in a runner would copy every page that holds an object of before the fork.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=control_fd) as control:
        while True:
            data, fds, _, _ = socket.recv_fds(control, _QUESTION_BYTES, _END_COUNT)
            if not data:
                sys.exit()
            question = json.loads(data)
            if "pid" in question:
                _, status = os.waitpid(question["pid"], 0)
                answer = {"status": os.waitstatus_to_exitcode(status)}
            else:
                pid, answer = _fork(fds)
                if pid == 0:
                    break
                for fd in fds:
                    os.close(fd)
            # The worker may have died.
            with contextlib.suppress(OSError):
                control.send(json.dumps(answer).encode())
    return _take_ends(fds, question["output_token"])


def _fork(fds: list[int]) -> tuple[int, dict[str, int]]:
    """Give the pid, 0 in the runner, and what the worker is answered."""
    if len(fds) < _END_COUNT:
        # The kernel drops those that this process has no number left for.
        return -1, {"errno": errno.EMFILE}
    try:
        pid = os.fork()
    except OSError as exc:
        return -1, {"errno": exc.errno or errno.EAGAIN}
    # Both do it, so that the group is there for whoever goes on first.
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid or os.getpid())
    return pid, {"pid": pid}


def _take_ends(fds: list[int], output_token: str) -> Ends:
    jobs_fd, stdout, stderr, events_fd = fds
    for fd, number in ((stdout, 1), (stderr, 2)):
        os.dup2(fd, number)
        os.close(fd)
    for fd in (jobs_fd, events_fd):
        os.set_inheritable(fd, False)
    # What was listed before is as old as this process.
    importlib.invalidate_caches()
    return Ends(os.fdopen(jobs_fd, "rb"), events_fd, output_token)
