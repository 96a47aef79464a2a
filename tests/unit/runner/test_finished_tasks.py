"""What the runner says of finished tasks, and what is kept of them in a snapshot that is too large."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from pyoco.core.models import Flow, RunContext, RunStatus, Task

from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runner_protocol import Begin, Planned
from pyoco_server.contract.runs import Snapshot
from pyoco_server.runner.engine import ReportingEngine


def test_a_run_that_is_cancelled_before_it_begins_keeps_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = Task(lambda: 1, "first")
    flow = Flow("main", {first, Task(lambda first: first, "second", dependencies={first})})
    reported: list[Any] = []
    run = RunContext(status=RunStatus.CANCELLING)
    begin = Begin("r", "main", {}, None, str(tmp_path), 1000, 1000, {"first": 1})
    engine = ReportingEngine(run, reported.append, lambda task: contextlib.nullcontext(), begin)
    engine.run(flow, {}, run)
    engine.report_rest()
    assert engine.states() == {"first": "SUCCEEDED", "second": "CANCELLED"}
    assert reported[0] == Planned(reported[0].tasks, ["first"])
    assert [message.name for message in reported[1:]] == ["second"]


def test_a_result_that_was_trimmed_is_not_put_back() -> None:
    pending = Snapshot.pending(
        Job("r", "main", "t", workflow_yaml_sha256="0"), origin="o", tasks=["small", "large"], now=time.time()
    )
    records = {
        name: {"state": "SUCCEEDED", "output": "x" * size, "is_resumable": True}
        for name, size in (("small", 10), ("large", 30_000))
    }
    run = pending.progressed(dict.fromkeys(records, "SUCCEEDED"), records, is_cut=False, now=time.time())
    assert set(run.finished_records) == {"small", "large"}
    stored = Snapshot.from_bytes(run.to_bytes(25_000))
    assert set(stored.finished_records) == {"small"}
    claimed = stored.claimed(worker_id="w", instance_id="i", job_seq=1, now=time.time())
    assert claimed.tasks == {"small": "SUCCEEDED", "large": "PENDING"}
    assert json.loads(claimed.to_bytes(25_000))["task_records"].keys() == {"small"}


@pytest.mark.parametrize("is_same", [True, False])
def test_finished_work_of_other_wheels_is_done_again_and_the_run_says_so(is_same: bool) -> None:
    before, now = [{"name": "a", "version": "1", "sha256": "0"}], time.time()
    pending = Snapshot.pending(Job("r", "main", "t", workflow_yaml_sha256="0"), origin="o", tasks=["one"], now=now)
    claim = pending.claimed(worker_id="w", instance_id="i", job_seq=1, now=now, wheels=before)
    assert claim.resume_note is None
    record = {"state": "SUCCEEDED", "output": 1, "is_resumable": True}
    done = claim.progressed({"one": "SUCCEEDED"}, {"one": record}, is_cut=False, now=now)
    again = done.claimed(worker_id="w", instance_id="j", job_seq=1, now=now, wheels=before if is_same else [])
    assert again.tasks == {"one": "SUCCEEDED" if is_same else "PENDING"}
    assert (again.resume_note is None) == is_same


def test_finished_work_of_a_run_by_name_is_done_again_and_the_claim_says_so() -> None:
    now = time.time()
    pending = Snapshot.pending(Job("r", "main", "t"), origin="o", tasks=["one"], now=now)
    record = {"state": "SUCCEEDED", "output": 1, "is_resumable": True}
    done = pending.progressed({"one": "SUCCEEDED"}, {"one": record}, is_cut=False, now=now)
    again = done.claimed(worker_id="w", instance_id="j", job_seq=1, now=now)
    assert (again.tasks, again.task_records) == ({"one": "PENDING"}, {})
    assert "its flow is the worker's own" in (again.resume_note or "")
