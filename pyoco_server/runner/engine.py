"""pyoco's engine, observed: every change of a task is reported when it happens.

Source: design, section 6; pyoco 0.8 ``core/engine.py``.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from pyoco.core.context import Context
from pyoco.core.engine import Engine
from pyoco.core.models import Flow, RunContext, Task, TaskRecord, TaskState
from pyoco.trace.backend import TraceBackend

from pyoco_server.contract.runner_protocol import Begin, Planned, Saved, TaskChanged
from pyoco_server.contract.runs import MAX_ERROR_CHARS
from pyoco_server.runner import resume
from pyoco_server.runner.files import RunFiles
from pyoco_server.runner.values import Form, is_exact, portable

#: What is kept of a traceback: the end, where the exception stands.
_MAX_TRACEBACK_CHARS = 65_536


class ReportingEngine(Engine):
    """Runs one flow and reports its tasks.

    :param report: takes every change, from the thread in which it happens.
    :param of_task: entered by each thread while it works for a task.
    :param begin: the run as the worker has given it. Without a folder of its own nobody knows what files a task leaves:
        then none is kept, and no task is resumable.
    """

    def __init__(
        self,
        run: RunContext,
        report: Callable[[Planned | TaskChanged | Saved], None],
        of_task: Callable[[str], AbstractContextManager[None]],
        begin: Begin,
    ) -> None:
        super().__init__(trace_backend=_Begins(self._report_plan, self._report_begin))
        self._run = run
        self._report = report
        self._of_task = of_task
        self._value_limit_bytes = begin.value_limit_bytes
        self._reported: dict[str, str] = {}
        self._finished = begin.finished
        self._scratch = begin.scratch
        self._files = None if begin.scratch is None else RunFiles(begin.scratch, begin.file_limit_bytes, report)
        #: Has the task for which a thread works.
        self._thread = threading.local()
        #: Tasks that are not executed, because their results are put back.
        self._restored: set[str] = set()
        self._note: str | None = None
        #: Tasks that have left nothing but their results.
        self._resumable: set[str] = set()

    @property
    def has_failed_task(self) -> bool:
        """Say whether the record of a task shows what went wrong."""
        return any(state is TaskState.FAILED for state in self._run.tasks.values())

    def states(self) -> dict[str, str]:
        """Give the states of all tasks; what was finished before stays finished, also in a run that was cancelled."""
        states = {name: state.value for name, state in self._run.tasks.items()}
        return {**states, **dict.fromkeys(self._restored, TaskState.SUCCEEDED.value)}

    def run(self, flow: Flow, params: dict[str, Any] | None = None, run_context: RunContext | None = None) -> Context:
        if self._finished and flow.has_control_flow():
            self._note = resume.CONTROL_FLOW_NOTE
        else:
            self._restored = resume.restorable(flow, self._finished)
        return super().run(flow, params or {}, run_context)

    def _current_task(self) -> str | None:
        """Give the task that this thread works for; of a thread that a task has started, where only one runs."""
        running = [name for name, state in self._run.tasks.items() if state is TaskState.RUNNING]
        return getattr(self._thread, "task", running[0] if len(running) == 1 else None)

    def _run_flow(self, flow: Flow, ctx: Context, run_ctx: RunContext, log_capture: Any) -> Context:
        if self._files is not None:
            self._files.observe(ctx, self._current_task)
        return super()._run_flow(flow, ctx, run_ctx, log_capture)

    def report_rest(self) -> None:
        """Report the tasks whose last state nobody has heard of: those that never began, or were cancelled."""
        for name in self._run.tasks:
            state = self._run.tasks[name].value
            if self._reported.get(name) != state and name not in self._restored:
                self._report_task(name)

    def _execute_task(self, task: Task, ctx: Context, log_capture: Any = None) -> None:
        if task.name in self._restored:
            super()._execute_task(resume.stand_in(task, self._finished[task.name]), ctx, None)
            return
        with self._of_task(task.name):
            self._thread.task = task.name
            try:
                # Without a capture: pyoco's keeps everything that was printed in memory.
                super()._execute_task(task, ctx, None)
            except BaseException as exc:
                if self._run.tasks[task.name] is not TaskState.FAILED:
                    # SystemExit and the like pass by the engine, and an exception without a text makes it stumble.
                    self._mark_failed(task.name, exc)
                self._report_task(task.name)
                raise
            if self._is_resumable(task, ctx):
                self._resumable.add(task.name)
            self._report_task(task.name)

    def _is_resumable(self, task: Task, ctx: Context) -> bool:
        if self._scratch is None or self._files is None:
            return False
        return not resume.leaves_more_than_its_result(task, ctx, self._scratch, self._files.made)

    def _report_plan(self) -> None:
        self._reported = {name: state.value for name, state in self._run.tasks.items()}
        self._report(Planned(list(self._run.tasks), sorted(self._restored), self._note))

    def _mark_failed(self, name: str, exc: BaseException) -> None:
        record = self._run.ensure_task_record(name)
        record.state = self._run.tasks[name] = TaskState.FAILED
        record.ended_at = time.time()
        record.duration_ms = (record.ended_at - (record.started_at or record.ended_at)) * 1000
        record.error = describe(exc)
        record.traceback = "".join(traceback.format_exception(type(exc), exc, exc.__traceback__))

    def _report_begin(self, name: str) -> None:
        if name not in self._restored:
            self._report_task(name)

    def _report_task(self, name: str) -> None:
        state, task_record = self._run.tasks[name].value, self._run.ensure_task_record(name)
        record, form, is_cut = _document(task_record, state, self._value_limit_bytes)
        if form is Form.CUT and self._files is not None:
            self._files.keep_output(name, task_record.output)
        if name in self._resumable and form is Form.ITSELF and is_exact(task_record.output):
            record["is_resumable"] = True
        self._reported[name] = state
        self._report(TaskChanged(name, state, record, is_cut, form is Form.ITSELF))


class _Begins(TraceBackend):
    """Hears of the flow and of tasks that begin; their end is seen where the record is whole."""

    def __init__(self, planned: Callable[[], None], begun: Callable[[str], None]) -> None:
        self._planned = planned
        self._begun = begun

    def on_flow_start(self, flow_name: str, run_id: str | None = None) -> None:
        self._planned()

    def on_flow_end(self, flow_name: str) -> None:
        """Nothing: the worker is told by the runner."""

    def on_node_start(self, node_name: str) -> None:
        self._begun(node_name)

    def on_node_end(self, node_name: str, duration_ms: float) -> None:
        """Nothing: the record is not whole yet."""

    def on_node_error(self, node_name: str, error: Exception) -> None:
        """Nothing: the record is not whole yet."""


def describe(exc: BaseException) -> str:
    """Give an exception's text, or its type where it has none."""
    try:
        text = str(exc)
    except BaseException as broken:
        text = f"(its text cannot be had: {type(broken).__name__})"
        return f"{type(exc).__name__} {text}"
    if isinstance(exc, Exception) and text:
        return text
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _document(record: TaskRecord, state: str, limit_bytes: int) -> tuple[dict[str, Any], Form, bool]:
    """Give a task record as the contract has it.

    :return: the record, what its output is, and whether anything in it was cut.
    """
    error, trace = record.error or "", record.traceback or ""
    output, form = portable(record.output, limit_bytes)
    inputs = {name: portable(value, limit_bytes) for name, value in record.inputs.items()}
    document = {
        "state": state,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "duration_ms": record.duration_ms,
        "error": record.error and error[:MAX_ERROR_CHARS],
        "traceback": record.traceback and trace[-_MAX_TRACEBACK_CHARS:],
        "inputs": {name: shown for name, (shown, _) in inputs.items()},
        "output": output,
        # The worker says what has become of the files that the task has saved.
        "artifacts": {},
    }
    is_text_cut = len(error) > MAX_ERROR_CHARS or len(trace) > _MAX_TRACEBACK_CHARS
    return document, form, is_text_cut or Form.CUT in [form, *(form for _, form in inputs.values())]
