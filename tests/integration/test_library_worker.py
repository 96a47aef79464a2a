"""A worker as a part of this very program."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyoco import Flow, task

from pyoco_server import NatsBackendConfig, PyocoNatsWorker
from pyoco_server.bridge.messages import Delivery
from pyoco_server.contract import names
from pyoco_server.errors import (
    BusUnavailable,
    InvalidCommand,
    InvalidInput,
    InvalidSetting,
    PyocoServerError,
    ThreadDied,
)
from pyoco_server.library import nats_worker
from pyoco_server.stores.queue import Queue
from pyoco_server.worker import supervisor
from pyoco_server.worker.consumer import Consumer
from tests.support.library import Desk, Notes, desk
from tests.support.nats import NatsServer, free_port
from tests.support.waiting import PATIENCE_SEC, eventually


def test_a_closure_resolves_and_executes_runs_in_this_very_process(at: Desk, notes: Notes) -> None:
    before = (sys.stdout, sys.stderr, Path.cwd())
    with PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve, worker_id="w1") as worker:
        assert worker.run_once(timeout=0.1) is None
        runs = [at.submit("f", number) for number in range(3)]
        done = [worker.run_once(timeout=PATIENCE_SEC) for _ in runs]
        assert worker.run_once(timeout=0) is None
    assert done == runs
    assert notes.seen == [(os.getpid(), 0), (os.getpid(), 1), (os.getpid(), 2)]
    assert (sys.stdout, sys.stderr, Path.cwd()) == before
    run: dict[str, Any] = at.run(runs[2])
    assert (run["status"], run["worker_id"], run["task_records"]["note"]["output"]) == ("COMPLETED", "w1", 3)
    # Nobody knows which files in the working directory are the task's.
    assert "is_resumable" not in run["task_records"]["note"]
    assert not set(runs) & set(at.parts.queued_ids())


@pytest.mark.parametrize("added", [99, object()])
def test_what_a_task_changes_in_its_parameters_is_not_stored(at: Desk, added: object) -> None:
    """Something that is not JSON had the run executed again."""

    @task
    def change(x: list[object]) -> int:
        x.append(added)
        return len(x)

    with PyocoNatsWorker.connect(config=at.config, flow_resolver=lambda name: Flow(name) >> change) as worker:
        run_id = at.submit("changes", [1])
        assert worker.run_once(timeout=PATIENCE_SEC) == run_id
    run = at.run(run_id)
    assert (run["status"], run["attempt"], run["params"]) == ("COMPLETED", 1, {"x": [1]})


def test_while_its_run_goes_on_others_hear_of_the_jobs_that_it_was_told_of(
    at: Desk, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed_on: list[Any] = []
    hint = names.hint_subject(names.work_subject(at.config.work_subject_prefix, at.tag))
    at.parts.bus.call(at.parts.bus.subscribe(hint, passed_on.append), timeout_sec=PATIENCE_SEC)
    pull = Queue.pull
    submitted: list[str] = []

    def pull_when_told_of_two(queue: Queue, tag: str, *, wait_sec: float) -> Delivery | None:
        if not submitted:
            submitted.extend(at.submit("held") for _ in range(2))
            # What comes over this connection comes in order.
            queue._bus.server_time(names.WORK_STREAM)
        return pull(queue, tag, wait_sec=wait_sec)

    monkeypatch.setattr(Queue, "pull", pull_when_told_of_two)
    with (
        PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve) as worker,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(worker.run_once, timeout=PATIENCE_SEC)
        try:
            assert notes.begun.wait(PATIENCE_SEC)
            # The run itself goes on for as long as anybody is patient.
            eventually(lambda: passed_on, what="a hint that is passed on", timeout_sec=PATIENCE_SEC / 2)
        finally:
            notes.may_end.set()
        assert {first.result(), worker.run_once(timeout=PATIENCE_SEC)} == set(submitted)


def test_a_worker_serves_any_of_its_tags(at: Desk, notes: Notes) -> None:
    other = replace(at.config, default_tag="none")
    tags = (f"{at.tag}-x", at.tag)
    with PyocoNatsWorker.connect(config=other, flow_resolver=notes.resolve, tags=tags) as worker:
        run_id = at.submit("f", 1)
        assert worker.run_once(timeout=PATIENCE_SEC) == run_id


def test_a_run_that_fails_or_cannot_be_resolved_is_a_run_that_was_executed(at: Desk, notes: Notes) -> None:
    with PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve) as worker:
        raised, unknown = at.submit("f", -1), at.submit("g")
        assert [worker.run_once(timeout=PATIENCE_SEC) for _ in range(2)] == [raised, unknown]
    assert (at.run(raised)["status"], at.run(raised)["error"]) == ("FAILED", "negative")
    assert str(at.run(unknown)["error"]).startswith("flow_not_found: g")


def test_a_job_that_turns_out_to_be_no_run_does_not_use_up_the_wait(at: Desk, notes: Notes) -> None:
    with PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve) as worker:
        at.parts.end(at.submit("f", 1))
        run_id = at.submit("f", 2)
        assert worker.run_once(timeout=PATIENCE_SEC) == run_id
    assert [x for _, x in notes.seen] == [2]


def test_a_resolver_given_as_text_has_its_runs_executed_in_a_child(at: Desk, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(
        "import os\nfrom pyoco import Flow, task\n\n@task\ndef pid():\n    return os.getpid()\n\n"
        "def resolve(name):\n    return Flow(name=name) >> pid\n"
    )
    run_id = at.submit("f")
    with PyocoNatsWorker.connect(config=at.config, flow_resolver=f"{tmp_path}/flows.py:resolve") as worker:
        assert worker.run_once(timeout=PATIENCE_SEC) == run_id
    run: dict[str, Any] = at.run(run_id)
    assert run["task_records"]["pid"]["output"] != os.getpid()


def test_between_runs_the_registry_shows_one_idle_worker_and_after_its_end_a_stopped_one(
    at: Desk, notes: Notes
) -> None:
    worker_id = f"idle-{at.tag}"
    instances = set()

    def shows(run_id: str) -> bool:
        record = at.record(worker_id)
        return (record.state, record.last_run_id) == ("IDLE", run_id)

    with PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve, worker_id=worker_id) as worker:
        for number in range(3):
            run_id = at.submit("f", number)
            worker.run_once(timeout=PATIENCE_SEC)
            eventually(lambda wanted=run_id: shows(wanted), what="the record of the run")
            instances.add(at.record(worker_id).instance_id)
    assert len(instances) == 1
    assert (at.record(worker_id).state, at.record(worker_id).stop_reason) == ("STOPPED_GRACEFUL", "graceful_shutdown")


def test_nothing_is_left_behind_and_nothing_of_the_program_is_changed(at: Desk, notes: Notes) -> None:
    threads, children, handlers = set(threading.enumerate()), _children(), _handlers()
    worker = PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve)
    assert len(_children() - children) == 1, "the sentinel"
    at.submit("f", 1)
    worker.run_once(timeout=PATIENCE_SEC)
    assert _handlers() == handlers
    worker.close()
    worker.close()
    # What another test has left may have ended.
    assert not set(threading.enumerate()) - threads
    assert not _children() - children
    assert _handlers() == handlers


def test_an_outage_is_told_and_over_when_nats_is_back(
    nats: NatsServer, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as outages are waited for in silence.
    monkeypatch.setattr(supervisor, "WORKER_BUDGET_SEC", 0.5)
    with desk(nats.url) as at, PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve) as worker:
        nats.stop()
        with pytest.raises(BusUnavailable):
            worker.run_once(timeout=0.1)
        nats.start()
        run_id = eventually(lambda: _or_none(lambda: at.submit("f", 1)), what="a submission", timeout_sec=PATIENCE_SEC)
        done = eventually(
            lambda: _or_none(lambda: worker.run_once(timeout=1)), what="the run", timeout_sec=PATIENCE_SEC
        )
        assert done == run_id


def test_threads_take_turns(at: Desk, notes: Notes) -> None:
    found: list[str | None] = []
    with PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve) as worker:
        threads = [
            threading.Thread(target=lambda: found.append(worker.run_once(timeout=PATIENCE_SEC))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        runs = [at.submit("f", number) for number in range(3)]
        for thread in threads:
            thread.join(PATIENCE_SEC)
    assert sorted(map(str, found)) == sorted(runs)


def test_a_worker_that_has_lost_a_thread_says_so_and_can_be_closed(
    at: Desk, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = PyocoNatsWorker.connect(config=at.config, flow_resolver=notes.resolve)

    def fail(consumer: Consumer) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Consumer, "_step", fail)
    with pytest.raises(ThreadDied, match="pyoco-consumer"):
        worker.run_once(timeout=PATIENCE_SEC)
    with pytest.raises(ThreadDied):
        worker.run_once(timeout=PATIENCE_SEC)
    worker.close()


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        ({"tags": ["a b"]}, InvalidInput),
        ({"tags": []}, InvalidInput),
        ({"tags": "gpu"}, InvalidInput),
        ({"worker_id": "a b"}, InvalidInput),
        ({"flow_resolver": "no_such_module:resolve"}, InvalidCommand),
        ({"config": {"wheel_sync_enabled": True}}, InvalidSetting),
        ({"config": {"run_memory_bytes": 10**9}}, InvalidSetting),
        ({"config": {"ack_progress_interval_sec": 60.0}}, InvalidSetting),
        ({"config": {"nats_url": "nats://127.0.0.1:{port}"}}, BusUnavailable),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing_behind(
    at: Desk, notes: Notes, monkeypatch: pytest.MonkeyPatch, refused: dict[str, Any], kind: type[PyocoServerError]
) -> None:
    monkeypatch.setattr(nats_worker, "CONNECT_SEC", 0.5)
    settings = refused.pop("config", {})
    if "nats_url" in settings:
        settings["nats_url"] = settings["nats_url"].format(port=free_port())
    config: NatsBackendConfig = replace(at.config, **settings)
    threads, children = set(threading.enumerate()), _children()
    with pytest.raises(kind):
        PyocoNatsWorker.connect(**{"config": config, "flow_resolver": notes.resolve, **refused})
    assert not set(threading.enumerate()) - threads
    assert not _children() - children


def _or_none(call: Any) -> str | None:
    try:
        return str(call() or "") or None
    except BusUnavailable:
        return None


def _children() -> set[str]:
    """Give the processes that this one has started."""
    found: set[str] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        # The thread may end while it is looked at.
        with contextlib.suppress(OSError):
            found.update(path.read_text().split())
    return found


def _handlers() -> tuple[Any, ...]:
    """Give what handles signals and log lines here."""
    root = logging.getLogger()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    return (*map(signal.getsignal, numbers), *root.handlers, root.level)
