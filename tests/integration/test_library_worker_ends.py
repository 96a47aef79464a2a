"""How a worker within this program ends, and how runs end in it before they are done."""

from __future__ import annotations

import functools
import queue
import threading
import time
from dataclasses import replace

import pytest

from pyoco_server import PyocoNatsWorker
from pyoco_server.contract.runner_protocol import Message
from pyoco_server.errors import WorkerClosed
from pyoco_server.library.local_runner import LocalRunner
from pyoco_server.runner.allowed import Allowed
from pyoco_server.service import Service
from pyoco_server.states import RunStatus
from pyoco_server.stores.workers import WorkerStore
from pyoco_server.worker import consumer
from pyoco_server.worker.options import WorkerOptions
from pyoco_server.worker.runner_link import Died
from pyoco_server.worker.supervisor import Worker
from pyoco_server.worker.work import OneRun
from tests.support.library import Desk, Notes
from tests.support.waiting import PATIENCE_SEC, eventually


def test_a_close_from_another_thread_ends_a_wait_and_lets_a_run_end(at: Desk, notes: Notes) -> None:
    found: list[str | None] = []
    for flow_name in (None, "held"):
        worker = PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve)
        waiting = threading.Thread(target=lambda given=worker: found.append(given.run_once(timeout=PATIENCE_SEC)))
        waiting.start()
        run_id = at.submit(flow_name) if flow_name else None
        if flow_name:
            assert notes.begun.wait(PATIENCE_SEC)
        closing = threading.Thread(target=worker.close)
        closing.start()
        if flow_name:
            assert waiting.is_alive()
            notes.may_end.set()
        waiting.join(PATIENCE_SEC)
        closing.join(PATIENCE_SEC)
        assert found.pop() == run_id
        with pytest.raises(WorkerClosed):
            worker.run_once()


@pytest.mark.parametrize("max_deliver", [20, 1])
def test_a_job_that_comes_to_a_pull_still_open_when_its_worker_begins_to_stop_goes_to_another_one(
    at: Desk, notes: Notes, monkeypatch: pytest.MonkeyPatch, max_deliver: int
) -> None:
    # A job that was kept would come back after ten minutes, and one delivered for the last time never.
    config = replace(at.config, consumer_ack_wait_sec=600.0, consumer_max_deliver=max_deliver)
    stopping = PyocoNatsWorker.connect(config=config, flow_resolver=notes.resolve)
    with monkeypatch.context() as patience:
        patience.setattr(consumer, "_WAITING_JOB_SEC", PATIENCE_SEC)
        waiting = threading.Thread(target=stopping.run_once, args=(PATIENCE_SEC,))
        waiting.start()
        eventually(lambda: at.consumer()["num_waiting"] == 1, what="the open pull", timeout_sec=PATIENCE_SEC)
    stopping._worker.take_no_more()
    run_id = at.submit("f", 1)
    waiting.join(PATIENCE_SEC)
    with PyocoNatsWorker.connect(config=config, flow_resolver=notes.resolve) as other:
        assert other.run_once(timeout=PATIENCE_SEC) == run_id
    stopping.close()
    assert (at.run(run_id)["status"], at.run(run_id)["attempt"]) == ("COMPLETED", 1)
    assert at.consumer()["delivered"]["consumer_seq"] == 2


def test_a_worker_that_is_asked_to_drain_takes_no_more_runs(at: Desk, notes: Notes) -> None:
    worker_id = f"drains-{at.tag}"
    with PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve, worker_id=worker_id) as worker:
        WorkerStore(at.parts.bus, at.config).request_drain(worker_id, now=time.time(), timeout_sec=20)

        def is_refused() -> bool:
            try:
                worker.run_once(timeout=0.05)
            except WorkerClosed as exc:
                assert "asked the worker to drain" in str(exc)
                return True
            return False

        eventually(is_refused, what="the refusal", timeout_sec=PATIENCE_SEC)
    assert at.record(worker_id).state == "STOPPED_GRACEFUL"


@pytest.mark.parametrize("flow_name", [None, "held"])
def test_a_request_to_drain_ends_a_wait_at_once_and_lets_a_run_end(
    at: Desk, notes: Notes, flow_name: str | None
) -> None:
    worker_id = f"waits-{at.tag}"
    found: list[str | None] = []
    with PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve, worker_id=worker_id) as worker:
        waiting = threading.Thread(target=lambda: found.append(worker.run_once(timeout=10 * PATIENCE_SEC)))
        waiting.start()
        run_id = at.submit(flow_name) if flow_name else None
        assert run_id is None or notes.begun.wait(PATIENCE_SEC)
        WorkerStore(at.parts.bus, at.config).request_drain(worker_id, now=time.time(), timeout_sec=20)
        if run_id is not None:
            eventually(lambda: worker._is_draining, what="the request's arrival", timeout_sec=PATIENCE_SEC)
            assert waiting.is_alive()
            notes.may_end.set()
        waiting.join(PATIENCE_SEC)
        assert found == [run_id]
        with pytest.raises(WorkerClosed):
            worker.run_once()


def test_a_run_that_has_not_ended_when_the_drain_time_is_over_is_begun_by_another_worker(
    at: Desk, notes: Notes
) -> None:
    config = replace(at.config, drain_sec=0.1)
    worker = PyocoNatsWorker.connect(config=config, flow_resolver=notes.resolve)
    waiting = threading.Thread(target=worker.run_once, args=(PATIENCE_SEC,))
    waiting.start()
    run_id = at.submit("held")
    assert notes.begun.wait(PATIENCE_SEC)
    worker.close()
    waiting.join(PATIENCE_SEC)
    assert at.parts.queued_ids().count(run_id) == 1
    notes.may_end.set()
    with PyocoNatsWorker.connect(config=config, flow_resolver=notes.resolve) as other:
        assert other.run_once(timeout=PATIENCE_SEC) == run_id
    assert (at.run(run_id)["status"], at.run(run_id)["attempt"]) == ("COMPLETED", 2)


def test_a_cancelled_run_begins_no_other_task_and_one_that_does_not_heed_it_ends_all_the_same(
    at: Desk, notes: Notes
) -> None:
    config = replace(at.config, cancel_grace_period_sec=0.1)
    with PyocoNatsWorker.connect(config=config, flow_resolver=notes.resolve) as worker:
        run_id = at.submit("held, then noted", 1)
        waiting = threading.Thread(target=worker.run_once, args=(PATIENCE_SEC,))
        waiting.start()
        assert notes.begun.wait(PATIENCE_SEC)
        at.parts.change(run_id, status=RunStatus.CANCELLING)
        waiting.join(PATIENCE_SEC)
        assert (at.run(run_id)["status"], at.run(run_id)["error"]) == ("CANCELLED", None)
        notes.may_end.set()
        eventually(lambda: not _run_threads(), what="the end of the thread", timeout_sec=PATIENCE_SEC)
    assert notes.seen == []


@pytest.mark.long
def test_a_run_over_its_time_ends_although_its_thread_goes_on_and_the_next_run_is_executed(
    at: Desk, notes: Notes
) -> None:
    config = replace(at.config, run_timeout_sec=2.0)
    with PyocoNatsWorker.connect(config=config, flow_resolver=notes.resolve) as worker:
        held, quick = at.submit("held"), at.submit("f", 1)
        assert [worker.run_once(timeout=PATIENCE_SEC) for _ in range(2)] == [held, quick]
    assert not notes.may_end.is_set()
    assert (at.run(held)["status"], str(at.run(held)["error"])[:8]) == ("FAILED", "timeout:")
    assert at.run(quick)["status"] == "COMPLETED"


class BrokenRunner(LocalRunner):
    """Ends the thread that asks it for news, as a fault of ours would."""

    def receive(self, timeout_sec: float) -> list[Message | Died]:
        raise SystemExit("a fault")


def test_a_slot_that_dies_with_a_job_in_hand_keeps_nobody_waiting_for_it(at: Desk, notes: Notes) -> None:
    failed: queue.SimpleQueue[Service] = queue.SimpleQueue()
    options = WorkerOptions(f"dies-{at.tag}", [at.tag], once=True, is_embedded=True)
    runner = functools.partial(BrokenRunner, notes.resolve, Allowed())
    worker = Worker(at.config, options, on_failure=failed.put, on_drain=lambda: None, start_runner=runner)
    worker.connect(PATIENCE_SEC)
    worker.start()
    wait_is_over = threading.Event()
    worker.take_one(OneRun(10 * PATIENCE_SEC, wait_is_over.set))
    at.submit("f", 1)
    assert failed.get(timeout=PATIENCE_SEC).name == "pyoco-slot-1"
    worker.stop(0)
    assert wait_is_over.wait(PATIENCE_SEC)


def _run_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pyoco-run-")]
