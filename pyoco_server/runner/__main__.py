"""The runner: a child process of a worker that executes runs, one after the other, and never talks to NATS.

It ends with its worker in two ways: the kernel kills it when the thread that made it ends (Linux), and the end of
its stdin tells it so anywhere.

Source: design, section 6.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import queue
import signal
import sys
import threading
from typing import IO, Any

from pyoco_server.contract import deadletters
from pyoco_server.contract.runner_protocol import (
    EXIT_BOOT_FAILED,
    EXIT_ORPHANED,
    Begin,
    BootFailed,
    Cancel,
    Ended,
    Message,
    Output,
    Ready,
    decode,
    encode,
)
from pyoco_server.errors import FlowNotFound, PyocoServerError

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
        self._lock = threading.Lock()
        self._current: Any = None
        self._cancelled: set[str] = set()

    def serve(self, jobs: IO[bytes], resolver_spec: str | None) -> int:
        """Boot, then execute runs until the worker ends this process.

        :return: the exit status.
        """
        # Heavy imports come after the guard against a worker that is gone already.
        from pyoco_server.runner import flows
        from pyoco_server.runner.output import TaskOutput

        try:
            resolver = flows.load_resolver(resolver_spec) if resolver_spec else None
        except PyocoServerError as exc:
            self._emit(BootFailed(str(exc)))
            return EXIT_BOOT_FAILED
        output = TaskOutput(lambda task, stream, text: self._emit(Output(task, stream, text)))
        output.install()
        threading.Thread(target=self._read, args=(jobs,), name="pyoco-jobs", daemon=True).start()
        self._emit(Ready(os.getpid()))
        home = os.getcwd()
        while True:
            begin = self._begins.get()
            threads_before = set(threading.enumerate())
            os.chdir(begin.scratch)
            ended = self._execute(begin, resolver, output)
            os.chdir(home)
            output.flush(None)
            left = set(threading.enumerate()) - threads_before
            self._emit(Ended(ended.status, ended.reason, ended.error, ended.tasks, is_reusable=not left))

    def _execute(self, begin: Begin, resolver: Any, output: Any) -> Ended:
        from pyoco.core.models import RunContext, RunStatus

        from pyoco_server.runner import flows
        from pyoco_server.runner.engine import ReportingEngine, describe

        run = RunContext(run_id=begin.run_id, flow_name=begin.flow_name)
        with self._lock:
            self._current = run
            if begin.run_id in self._cancelled:
                run.status = RunStatus.CANCELLING
        engine = ReportingEngine(run, self._emit, output, begin.value_limit_bytes)
        status, reason, error = "COMPLETED", None, None
        try:
            if begin.workflow_yaml is not None:
                flow = flows.resolve_workflow(begin.workflow_yaml, begin.flow_name)
            else:
                flow = flows.resolve_by_name(begin.flow_name, resolver)
            engine.run(flow, begin.params, run)
            status = run.status.value
        except FlowNotFound as exc:
            status, reason = "FAILED", deadletters.FLOW_NOT_FOUND
            error = f"{deadletters.FLOW_NOT_FOUND}: {exc}"
        except BaseException as exc:
            # Also SystemExit: a task that exits must not take the runner with it.
            status, reason, error = "FAILED", deadletters.EXECUTION_ERROR, describe(exc)
        with self._lock:
            self._current = None
            self._cancelled.clear()
        engine.report_rest()
        return Ended(status, reason, error, {name: state.value for name, state in run.tasks.items()})

    def _read(self, jobs: IO[bytes]) -> None:
        """Read the worker's lines; their end means that the worker is gone, and so must be all that it began."""
        for line in jobs:
            message = decode(line)
            if isinstance(message, Begin):
                self._begins.put(message)
            elif isinstance(message, Cancel):
                self._cancel(message.run_id)
        os.killpg(0, signal.SIGKILL)

    def _cancel(self, run_id: str) -> None:
        from pyoco.core.models import RunStatus

        with self._lock:
            # The line may overtake the run's beginning.
            self._cancelled.add(run_id)
            run = self._current
            if run is not None and run.run_id == run_id and run.status is RunStatus.RUNNING:
                run.status = RunStatus.CANCELLING

    def _emit(self, message: Message) -> None:
        data = memoryview(encode(message))
        with self._events_lock:
            try:
                while data:
                    data = data[os.write(self._events_fd, data) :]
            except BrokenPipeError:
                os._exit(EXIT_ORPHANED)


def main() -> int:
    """Run the runner; its command line is the worker's business."""
    parser = argparse.ArgumentParser(prog="pyoco_server.runner")
    parser.add_argument("--events-fd", type=int, required=True)
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--flow-resolver")
    args = parser.parse_args()
    _die_with_parent(args.parent_pid)
    # Neither a task nor a program that it starts may read the worker's lines or write events.
    os.set_inheritable(args.events_fd, False)
    jobs = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # Ctrl-C reaches the whole terminal; how runs end is for the worker to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Runner(args.events_fd).serve(jobs, args.flow_resolver)


def _die_with_parent(parent_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
