"""Executing runs, one at a time, in this process: a runner's own, or that of a program with a worker in it.

Source: design, section 6.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from pyoco.core.models import RunContext, RunStatus

from pyoco_server.contract import deadletters
from pyoco_server.contract.runner_protocol import Begin, Ended, Message
from pyoco_server.contract.runs import MAX_ERROR_CHARS
from pyoco_server.errors import FlowNotFound
from pyoco_server.runner import flows
from pyoco_server.runner.allowed import Allowed
from pyoco_server.runner.engine import ReportingEngine, describe

logger = logging.getLogger(__name__)


class Executor:
    """Executes runs and tells what happens in them.

    :param resolver: gives the flows of runs by flow name; ``None`` = there are none.
    :param emit: takes every message, from the thread in which it happens.
    :param of_task: entered by each thread while it works for a task.
    :param allowed: what may be executed.
    """

    def __init__(
        self,
        resolver: flows.Resolver | None,
        emit: Callable[[Message], None],
        of_task: Callable[[str], AbstractContextManager[None]],
        allowed: Allowed,
    ) -> None:
        self._resolver = resolver
        self._allowed = allowed
        self._emit = emit
        self._of_task = of_task
        self._lock = threading.Lock()
        self._current: RunContext | None = None
        self._cancelled: set[str] = set()

    def execute(self, begin: Begin) -> Ended:
        """Execute a run to its end, however it ends."""
        run = RunContext(run_id=begin.run_id, flow_name=begin.flow_name)
        with self._lock:
            self._current = run
            if begin.run_id in self._cancelled:
                run.status = RunStatus.CANCELLING
        engine = ReportingEngine(run, self._emit, self._of_task, begin)
        status, reason, error = "COMPLETED", None, None
        try:
            # Where the worker was started: a resolver may read files there.
            if begin.workflow_yaml is not None:
                flow = flows.resolve_workflow(begin.workflow_yaml, begin.flow_name, self._allowed)
            else:
                flow = flows.resolve_by_name(begin.flow_name, self._resolver, self._allowed)
            if begin.scratch is not None:
                os.chdir(begin.scratch)
            engine.run(flow, begin.params, run)
            # A flow without any place to stop ends as CANCELLING.
            status = "CANCELLED" if run.status is RunStatus.CANCELLING else run.status.value
        except FlowNotFound as exc:
            status, reason = "FAILED", deadletters.FLOW_NOT_FOUND
            error = f"{deadletters.FLOW_NOT_FOUND}: {exc}"
        except BaseException as exc:
            # Also SystemExit: a task that exits must not take the process with it.
            status, reason, error = "FAILED", deadletters.EXECUTION_ERROR, describe(exc)
            if not engine.has_failed_task:
                # No record shows where this came from: a resolver that raised, for instance.
                logger.error("run %s failed, and none of its tasks did", begin.run_id, exc_info=exc)
        with self._lock:
            self._current = None
            self._cancelled.clear()
        engine.report_rest()
        return Ended(status, reason, error and error[:MAX_ERROR_CHARS], engine.states())

    def cancel(self, run_id: str) -> None:
        """Have a run stop between two tasks; also one that is just about to begin."""
        with self._lock:
            self._cancelled.add(run_id)
            run = self._current
            if run is not None and run.run_id == run_id and run.status is RunStatus.RUNNING:
                run.status = RunStatus.CANCELLING
