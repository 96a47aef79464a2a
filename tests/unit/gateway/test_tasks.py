"""The tasks of a run as its page shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyoco_server.contract.runs import Snapshot
from pyoco_server.gateway.pages.tasks import TaskView, task_views
from pyoco_server.text_width import width
from tests.support.parts import stored_run


def _task(**record: Any) -> TaskView:
    run = stored_run("r", status="FAILED", tasks={"a": "FAILED"}, task_records={"a": {"state": "FAILED", **record}})
    (task,) = task_views(Snapshot.from_bytes(json.dumps(run).encode()), ["a"])
    return task


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    lines = [f"line {number} of a traceback" for number in range(1_000)]
    shown = _task(traceback="\n".join(lines)).traceback
    assert shown.startswith("line 0 of") and "\n…\n" in shown and shown.endswith("line 999 of a traceback")
    assert len(shown) < 6_000
    assert _task(traceback="\n".join(lines[:100])).traceback == "\n".join(lines[:100])


def test_values_are_cut_to_what_a_page_has_room_for() -> None:
    task = _task(inputs={"x": "i" * 9_000}, output=["o" * 9_000])
    assert task.inputs and task.inputs.startswith('{\n  "x"') and task.inputs.endswith("…") and len(task.inputs) < 3_000
    assert task.output and len(task.output) < 3_000 and len(task.short_output) < 200
    assert _task(output=0).output == "0" and _task(output=None).output is None and _task(inputs={}).inputs is None


def test_records_of_other_programs_may_hold_anything() -> None:
    task = _task(traceback=[7], error={"a": 1}, inputs=7, output=False, started_at="soon")
    assert (task.traceback, task.error, task.inputs, task.output, task.began_at) == ("", "", "7", "false", None)


@pytest.mark.parametrize("name", ["東京の売上データを取得するタスク", "fetch_the_orders_of_tokyo"])
def test_the_name_in_a_node_of_the_graph_fits_in_any_script(name: str) -> None:
    run = stored_run("r", tasks={name: "PENDING"})
    (task,) = task_views(Snapshot.from_bytes(json.dumps(run).encode()), [name])
    assert width(task.short_name) <= 18 and "…" in task.short_name
