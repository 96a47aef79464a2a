"""A runner within the program that the worker is a part of, so that a flow may be a closure.

Source: contract, section 5, "Python API"; design, section 6.
"""

from __future__ import annotations

import contextlib
import copy
import queue
from collections.abc import Callable
from dataclasses import replace

from pyoco_server.contract.runner_protocol import Begin, Cancel, Message
from pyoco_server.runner.allowed import Allowed
from pyoco_server.runner.executor import Executor
from pyoco_server.runner.flows import Resolver
from pyoco_server.service import Deadline, Service
from pyoco_server.worker.runner_link import Died
from pyoco_server.worker.wheel_set import NO_WHEELS


class LocalRunner:
    """Executes each run on a thread of its own, which nothing can stop. See :class:`RunnerLink` for its calls.

    The run has no folder and no output of its own: working directory and ``sys.stdout`` are the program's.
    """

    #: Its code is that of the program, which nobody can begin anew.
    is_outdated = False

    def __init__(self, resolver: Resolver, allowed: Allowed) -> None:
        self.wheels = NO_WHEELS
        self.runs_done = 0
        self._messages: queue.SimpleQueue[Message | Died | None] = queue.SimpleQueue()
        self._executor = Executor(resolver, self._messages.put, lambda task: contextlib.nullcontext(), allowed)
        self._run_id = ""

    def wait_ready(self, deadline: Deadline, must_leave: Callable[[], bool] = lambda: False) -> None:
        """Return at once: there is nothing to boot."""

    def send(self, message: Message) -> None:
        if isinstance(message, Begin):
            self._run_id = message.run_id
            # No pipe is in between: what a task changes in its inputs must not change what the worker stores.
            begin = replace(copy.deepcopy(message), scratch=None)
            _RunThread(self._executor, begin, self._messages.put).start()
        elif isinstance(message, Cancel):
            self._executor.cancel(message.run_id)

    def receive(self, timeout_sec: float) -> list[Message | Died]:
        try:
            message = self._messages.get(timeout=timeout_sec) if timeout_sec > 0 else self._messages.get_nowait()
        except queue.Empty:
            return []
        return [] if message is None else [message]

    def wake(self) -> None:
        self._messages.put(None)

    def leave(self) -> None:
        """Nothing: its thread has ended with its run."""

    def terminate(self) -> None:
        """Nothing: the programs that a task has started cannot be told from those of the program around it."""

    def kill(self) -> None:
        """Have no other task begin; the present ones go on, heard by nobody."""
        self._executor.cancel(self._run_id)


class _RunThread(Service):
    """The thread of one run."""

    def __init__(self, executor: Executor, begin: Begin, emit: Callable[[Message | Died], None]) -> None:
        super().__init__(f"pyoco-run-{begin.run_id}", lambda service: emit(Died(f"failed: {service.failure!r}")))
        self._executor = executor
        self._begin = begin
        self._emit = emit

    def run(self) -> None:
        self._emit(self._executor.execute(self._begin))
