"""The tasks of a run as its page shows them.

Records of other programs hold anything in fields that ours fill in one way, so everything is looked at before it is
shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyoco_server.contract.moments import is_moment
from pyoco_server.contract.runs import Snapshot
from pyoco_server.gateway.pages.marks import Mark, task_mark
from pyoco_server.states import TaskState
from pyoco_server.text_width import shortened_in_middle

#: What a page shows of one value, in a table and by itself.
_MAX_SHORT_CHARS, _MAX_LONG_CHARS = 120, 2_500
#: A traceback is cut in its middle: it begins with what it is, and ends with what happened.
_MAX_TRACE_HEAD_CHARS, _MAX_TRACE_TAIL_CHARS = 1_000, 4_000
#: Of a Latin letter each: a Japanese one takes two.
_NAME_PLACES = 18


@dataclass(frozen=True)
class TaskView:
    """One task.

    :param began_at: unix seconds; ``None`` when it did not begin.
    :param ended_at: ``None`` when it did not end.
    :param error: text; empty when there is none. So is ``traceback``.
    :param inputs_value: as they are stored; ``None`` where there are none. So is ``output_value``.
    """

    name: str
    mark: Mark
    is_running: bool
    began_at: float | None
    ended_at: float | None
    error: str
    traceback: str
    inputs_value: Any
    output_value: Any

    @property
    def short_name(self) -> str:
        """The name, cut in its middle to what a node of the graph has room for."""
        return shortened_in_middle(self.name, _NAME_PLACES)

    @property
    def inputs(self) -> str | None:
        """The inputs as JSON over several lines, cut; ``None`` where there are none."""
        return _long_json(self.inputs_value) if self.inputs_value else None

    @property
    def output(self) -> str | None:
        """The output, likewise."""
        return _long_json(self.output_value) if self.has_output else None

    @property
    def short_output(self) -> str:
        """The output as JSON on one line, cut."""
        return short_json(self.output_value)

    @property
    def has_output(self) -> bool:
        return self.output_value is not None

    def took_sec(self, now: float) -> float | None:
        """Give how long it took, or takes so far; ``None`` when it did not begin or its end is not known."""
        end = now if self.is_running else self.ended_at
        return None if self.began_at is None or end is None else max(0.0, end - self.began_at)


def task_views(snapshot: Snapshot, graph_order: Iterable[str]) -> list[TaskView]:
    """Give the tasks of a run, in the order of its graph; those that the graph does not know follow."""
    names = dict.fromkeys([*(name for name in graph_order if name in snapshot.tasks), *snapshot.tasks])
    has_ended = snapshot.status.is_terminal
    return [_task_view(name, snapshot.tasks[name], snapshot.task_records.get(name), has_ended) for name in names]


def _task_view(name: str, state: Any, record: Any, has_run_ended: bool) -> TaskView:
    record = record if isinstance(record, dict) else {}
    began_at, ended_at = record.get("started_at"), record.get("ended_at")
    return TaskView(
        name=name,
        mark=task_mark(state, has_run_ended=has_run_ended),
        is_running=state == TaskState.RUNNING.value,
        began_at=began_at if is_moment(began_at) else None,
        ended_at=ended_at if is_moment(ended_at) else None,
        error=_text(record.get("error")),
        traceback=_cut_middle(record.get("traceback")),
        inputs_value=record.get("inputs"),
        output_value=record.get("output"),
    )


def short_json(value: Any) -> str:
    """Give a value as JSON on one line, cut."""
    return _cut(json.dumps(value, ensure_ascii=False), _MAX_SHORT_CHARS)


def _long_json(value: Any) -> str:
    """Give a value as JSON for reading, cut."""
    return _cut(json.dumps(value, ensure_ascii=False, indent=2), _MAX_LONG_CHARS)


def _text(value: Any) -> str:
    return _cut(value, _MAX_LONG_CHARS) if isinstance(value, str) else ""


def _cut_middle(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    if len(text) <= _MAX_TRACE_HEAD_CHARS + _MAX_TRACE_TAIL_CHARS:
        return text
    return f"{text[:_MAX_TRACE_HEAD_CHARS]}\n…\n{text[-_MAX_TRACE_TAIL_CHARS:]}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"
