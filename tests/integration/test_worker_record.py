"""What a worker writes about itself when its runs begin and end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import nats.aio.msg
import pytest

from pyoco_server.contract.runs import Snapshot
from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus
from pyoco_server.stores.workers import WorkerStore
from pyoco_server.worker.registry import Registry
from tests.support.parts import Parts
from tests.support.waiting import eventually

SMALL = Snapshot("r", "f", RunStatus.COMPLETED, 1.0, 1.0, start_time=1.0, end_time=1.0)


class Written:
    """A registry, and the records that it writes."""

    def __init__(self, parts: Parts) -> None:
        self.records: list[dict[str, Any]] = []
        parts.bus.call(parts.bus.subscribe("$KV.pyoco_workers.w", self._take), timeout_sec=30)
        self.registry = Registry(
            parts.bus,
            WorkerStore(parts.bus, parts.config),
            parts.config,
            worker_id="w",
            instance_id="i",
            tags=["t"],
            concurrency=1,
            on_failure=lambda service: None,
            on_drain=lambda: None,
        )
        self.registry.start()

    def _take(self, message: nats.aio.msg.Msg) -> None:
        self.records.append(json.loads(message.data))

    def last_run(self) -> str | None:
        return self.records[-1]["last_run_id"] if self.records else None


@pytest.fixture
def written(parts: Parts) -> Iterator[Written]:
    found = Written(parts)
    yield found
    assert found.registry.stop(Deadline(30))


def test_run_of_some_milliseconds_is_written_once_at_its_end(written: Written) -> None:
    """Two writes would be made, one of them while it is executed, which would hold it up."""
    # On a busy machine such a run may last longer, but not each time.
    for _ in range(5):
        eventually(lambda: written.records, what="the record", timeout_sec=30)
        # Until it may be written again at once; two writes are half a second apart.
        threading.Event().wait(1.1)
        written.records.clear()
        written.registry.run_begun("r")
        threading.Event().wait(0.01)
        written.registry.run_ended("r", SMALL)
        eventually(lambda: written.records, what="the write", timeout_sec=30)
        if written.records[0]["state"] == "IDLE":
            return
    raise AssertionError("each of five runs was written while it was executed")


def test_run_that_goes_on_is_told_of(written: Written) -> None:
    written.registry.run_begun("r")
    eventually(
        lambda: written.records and written.records[-1]["current_run_ids"] == ["r"], what="the run", timeout_sec=30
    )
    assert written.records[-1]["state"] == "RUNNING"
    written.registry.run_ended("r", SMALL)
    eventually(lambda: written.last_run() == "r", what="its end", timeout_sec=30)
    assert written.records[-1]["current_run_ids"] == []
