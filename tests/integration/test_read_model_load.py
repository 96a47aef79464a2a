"""Filling the read model: what is put off meanwhile, and what becomes of a load that is cut short."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.errors import ReadModelLoading
from pyoco_server.readmodel.counts import StatusCount, count_runs, count_waiting
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.readmodel.queries import RunQuery
from pyoco_server.readmodel.reports import Reports
from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus
from tests.support.brake import brake_at
from tests.support.parts import Parts, stored_run
from tests.support.waiting import PATIENCE_SEC, eventually

#: More than are applied at once.
RUN_COUNT = 1_200


@contextmanager
def filled_half(parts: Parts, run_id: str, path: Path | None = None) -> Iterator[ReadModel]:
    """Give a model whose load stands still after the changes among which this run is; it is stopped there."""
    model = ReadModel(parts.bus, replace(parts.config, read_model_path=str(path or ":memory:")))
    with brake_at(model, run_id) as brake:
        model.start()
        brake.wait()
        yield model
        model.stop(Deadline(0))
    model.stop(Deadline(PATIENCE_SEC))


@contextmanager
def filled(parts: Parts, path: Path | None = None) -> Iterator[ReadModel]:
    model = ReadModel(parts.bus, replace(parts.config, read_model_path=str(path or ":memory:")))
    model.start()
    try:
        eventually(lambda: model.is_complete, what="the model being complete", timeout_sec=PATIENCE_SEC)
        yield model
    finally:
        model.stop(Deadline(PATIENCE_SEC))


def numbers(model: ReadModel, now: float) -> tuple[object, ...]:
    """Give everything that is counted."""
    reports = Reports(model, None)
    counted = count_runs(model, now), count_waiting(model)
    return *counted, reports.counts(), reports.flow_names(), reports.tags(), reports.ended_by_hour(0)


def put_runs(parts: Parts, now: float) -> None:
    statuses = ("PENDING", "COMPLETED", "FAILED", "RUNNING", "COMPLETED")
    parts.put_many(
        [
            stored_run(
                f"run-{number}",
                status=statuses[number % 5],
                tag=f"tag-{number % 3}",
                flow_name=f"flow-{number % 2}",
                updated_at=now - number * 600,
            )
            for number in range(RUN_COUNT)
        ]
    )


def test_counts_are_those_of_runs_that_came_one_by_one(parts: Parts) -> None:
    now = time.time()
    with filled(parts) as follows:
        put_runs(parts, now)
        eventually(lambda: count_runs(follows, now)[RunStatus.RUNNING].total == RUN_COUNT // 5, what="the runs")
        eventually(lambda: follows.run(f"run-{RUN_COUNT - 1}") is not None, what="the last run")
        with filled(parts) as loads:
            assert numbers(loads, now) == numbers(follows, now)
            parts.put("run-0", stored_run("run-0", status="FAILED"))
            parts.tombstone("run-1")
            eventually(lambda: follows.run("run-1") is None, what="the changes")
            eventually(lambda: loads.run("run-1") is None, what="the changes")
            assert numbers(loads, now) == numbers(follows, now)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "CANCELLED"},
        {"tag": "other"},
        {"flow_name": "other"},
        {"updated_at": 86_400.0 * 9},
        {"error": "none"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_counts_follow_each_change_of_what_is_counted(parts: Parts, change: dict[str, Any]) -> None:
    run = {"status": "COMPLETED", "tag": "tag", "flow_name": "flow", "updated_at": 86_400.0 * 7}
    parts.put("run", stored_run("run", **run))
    with filled(parts) as follows:
        assert follows.wait_for(parts.put("run", stored_run("run", **{**run, **change})), PATIENCE_SEC)
        with filled(parts) as loads:
            assert numbers(follows, run["updated_at"]) == numbers(loads, run["updated_at"])


def test_nothing_is_answered_of_many_runs_while_a_list_is_filled_and_a_single_run_is(parts: Parts) -> None:
    put_runs(parts, time.time())
    with filled_half(parts, "run-0") as model:
        assert model.run("run-0") is not None
        questions = (
            lambda: model.list_runs(RunQuery(None, 10)),
            lambda: count_runs(model, 0.0),
            lambda: count_waiting(model),
            lambda: Reports(model, None).failures(0.0, 5),
            lambda: model.pending_runs(until=0.0),
            model.waiting_retries,
            model.cancelling_runs,
            lambda: model.unstamped_runs(1),
            lambda: model.stale_runs(0.0),
        )
        for question in questions:
            with pytest.raises(ReadModelLoading):
                question()


def test_who_is_refused_does_not_wait_for_an_index_that_is_being_made(parts: Parts) -> None:
    put_runs(parts, time.time())
    refused = threading.Event()

    def ask(model: ReadModel) -> None:
        with contextlib.suppress(ReadModelLoading):
            model.list_runs(RunQuery(None, 10))
        refused.set()

    with filled_half(parts, "run-0") as model:
        asking = threading.Thread(target=ask, args=(model,))
        with model.reading():
            asking.start()
            assert refused.wait(PATIENCE_SEC)
        asking.join()


def test_a_load_that_was_cut_short_goes_on_in_its_file(parts: Parts, tmp_path: Path) -> None:
    now = time.time()
    put_runs(parts, now)
    path = tmp_path / "runs.sqlite"
    with filled_half(parts, "run-0", path) as model:
        assert 0 < model.applied_seq() < RUN_COUNT
    parts.put("run-0", stored_run("run-0", status="CANCELLED", tag="changed"))
    with filled(parts, path) as goes_on, filled(parts) as loads:
        assert numbers(goes_on, now) == numbers(loads, now)
        assert count_runs(goes_on, 0.0)[RunStatus.CANCELLED] == StatusCount(1, 0)
        assert goes_on.list_runs(RunQuery(None, 10)) == loads.list_runs(RunQuery(None, 10))


def test_a_bucket_that_is_made_anew_is_filled_again(parts: Parts) -> None:
    now = time.time()
    put_runs(parts, now)
    with filled(parts) as model:
        life = model.life
        parts.bus.api("STREAM.DELETE.KV_pyoco_runs")
        ensure_resources(parts.bus, parts.config)
        last = parts.put_many([stored_run(f"new-{number}", tag="new") for number in range(3)])
        eventually(lambda: model.life > life and model.is_complete, what="the new list", timeout_sec=PATIENCE_SEC)
        assert model.wait_for(last, PATIENCE_SEC)
        with filled(parts) as loads:
            assert numbers(model, now) == numbers(loads, now)
        assert Reports(model, None).tags() == ["new"]


@pytest.mark.long
def test_runs_of_any_size_are_loaded_over_one_connection(parts: Parts, caplog: pytest.LogCaptureFixture) -> None:
    """nats-server ends a connection that has 64 MB before it."""
    text = "x" * 250_000
    for number in range(600):
        parts.put(f"r{number}", stored_run(f"r{number}", params={"text": text}))
    with Parts(parts.config.nats_url) as others, filled(others) as model:
        assert model.run("r599") is not None
    assert "the connection to NATS was lost" not in caplog.text
