"""pyoco's own commands, as they are published, against a gateway of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.conftest import Gateway
from tests.support.commands import Daemon, run
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import PATIENCE_SEC, eventually

pytestmark = pytest.mark.long

FLOW = """\
version: 1
flow:
  graph: |
    hello >> work
  defaults:
    x: 1
tasks:
  hello:
    callable: steps:hello
  work:
    callable: steps:work
"""
STEPS = """\
import os
import pathlib
import time


def hello(x):
    print("hello", x)
    return int(x) + 1


def work(hello):
    pathlib.Path("began").touch()
    while os.path.exists("wait"):
        time.sleep(0.02)
    if os.path.exists("fail"):
        raise ValueError("no luck")
    print("worked")
    return hello * 2
"""
QUICK = {"PYOCO_POLL_LEASE_SEC": "2", "PYOCO_CONSUMER_ACK_WAIT_SEC": "2", "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "0.5"}


class Pyoco:
    """pyoco's command line in the test's folder, and the gateway that it speaks to."""

    def __init__(self, start: Callable[..., Daemon], gateway: Gateway, folder: Path) -> None:
        self._start = start
        self.gateway = gateway
        self.folder = folder
        (folder / "flow.yaml").write_text(FLOW)
        (folder / "steps.py").write_text(STEPS)

    def __call__(self, *words: str) -> str:
        done = run("pyoco", *words, "--server", self.gateway.url, cwd=self.folder, **self._env())
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, *flags: str) -> str:
        output = self("run", "--config", "flow.yaml", *flags)
        found = re.search(r"Run ID: (\S+)", output)
        assert found is not None, output
        return found[1]

    def worker(self, *flags: str) -> Daemon:
        words = ("worker", "start", "--server", self.gateway.url, "--config", "flow.yaml", *flags)
        return self._start("pyoco", *words, PYTHONUNBUFFERED="1", **self._env())

    def inspect(self, run_id: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(self("runs", "inspect", run_id, "--json"))
        return found

    def ended(self, run_id: str) -> dict[str, object]:
        """Wait for the end of a run; by HTTP, because a command takes half a second."""

        def look() -> bool:
            status = requests.get(f"{self.gateway.url}/runs/{run_id}", timeout=5).json()["status"]
            return status in ("COMPLETED", "FAILED", "CANCELLED")

        eventually(look, what=f"the end of run {run_id}")
        return self.inspect(run_id)

    def _env(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.folder), "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def pyoco(start: Callable[..., Daemon], gateway: Gateway, tmp_path: Path) -> Pyoco:
    return Pyoco(start, gateway, tmp_path)


@pytest.fixture
def quick(start: Callable[..., Daemon], nats: NatsServer, tmp_path: Path) -> Pyoco:
    """The same with a gateway that misses a silent worker after two seconds."""
    return Pyoco(start, Gateway(start, nats, **QUICK), tmp_path)


def test_a_run_goes_from_pyocos_command_through_our_gateway_to_pyocos_worker_and_back(pyoco: Pyoco) -> None:
    run_id = pyoco.submit("--param", "x=4")
    assert re.search(rf"{run_id} \| PENDING +\| main", pyoco("runs", "list"))
    (pyoco.folder / "wait").touch()
    worker = pyoco.worker()
    eventually((pyoco.folder / "began").exists, what="the second task having begun")
    shown = pyoco("runs", "show", run_id)
    assert "Status: RUNNING" in shown and "] hello" in shown and "] work" in shown
    running = ("runs", "list", "--status", "RUNNING", "--flow", "main", "--limit", "5")
    eventually(lambda: run_id in pyoco(*running), what="the run in the list", timeout_sec=PATIENCE_SEC)
    (pyoco.folder / "wait").unlink()

    run = pyoco.ended(run_id)
    assert (run["status"], run["tasks"]) == ("COMPLETED", {"hello": "SUCCEEDED", "work": "SUCCEEDED"})
    assert str(run["worker_id"]) in worker.log
    shown = pyoco("runs", "show", run_id)
    assert "Status: COMPLETED" in shown and "[SUCCEEDED] work" in shown
    assert "Ended: " in pyoco("runs", "inspect", run_id)
    logs = pyoco("runs", "logs", run_id)
    assert logs.index("hello 4") < logs.index("worked")
    assert "hello" not in pyoco("runs", "logs", run_id, "--task", "work", "--tail", "5").replace(run_id, "")
    assert run_id not in pyoco("runs", "list", "--status", "PENDING")


def test_a_task_that_raises_fails_the_run_with_its_error(pyoco: Pyoco) -> None:
    (pyoco.folder / "fail").touch()
    worker = pyoco.worker()
    run = pyoco.ended(pyoco.submit())
    assert (run["status"], run["error"]) == ("FAILED", "no luck")
    worker.wait_for_log("failed: no luck")
    assert worker.process.poll() is None


def test_the_run_of_a_worker_that_vanishes_comes_back(quick: Pyoco) -> None:
    (quick.folder / "wait").touch()
    run_id = quick.submit()
    lost = quick.worker()
    eventually((quick.folder / "began").exists, what="the second task having begun")
    lost.kill()
    (quick.folder / "wait").unlink()
    next_one = quick.worker()
    run = quick.ended(run_id)
    assert run["status"] == "COMPLETED"
    assert str(run["worker_id"]) in next_one.log


def test_the_run_of_a_worker_that_vanishes_goes_to_a_worker_of_ours_as_well(
    quick: Pyoco, start_worker: Callable[..., Daemon]
) -> None:
    (quick.folder / "wait").touch()
    run_id = quick.submit()
    lost = quick.worker()
    eventually((quick.folder / "began").exists, what="the second task having begun")
    lost.kill()
    (quick.folder / "resolver.py").write_text(
        "from pyoco import Flow, task\n"
        "@task\n"
        "def done():\n"
        "    return 'elsewhere'\n"
        "def resolve(name):\n"
        "    return Flow(name=name) >> done\n"
    )
    start_worker("--worker-id", "ours", "--flow-resolver", "resolver.py:resolve")
    run = quick.ended(run_id)
    assert (run["status"], run["worker_id"], run["attempt"]) == ("COMPLETED", "ours", 2)


def test_a_worker_survives_the_restart_of_its_gateway_and_keeps_its_run(pyoco: Pyoco) -> None:
    (pyoco.folder / "wait").touch()
    run_id = pyoco.submit()
    worker = pyoco.worker()
    eventually((pyoco.folder / "began").exists, what="the second task having begun")
    pyoco.gateway.daemon.kill()
    pyoco.gateway.restart()
    (pyoco.folder / "wait").unlink()
    run = pyoco.ended(run_id)
    assert (run["status"], run["attempt"]) == ("COMPLETED", 1)
    assert worker.process.poll() is None


def test_a_run_stays_its_workers_while_no_gateway_is_there_and_another_worker_is_given_its_job(
    start: Callable[..., Daemon], nats: NatsServer, tmp_path: Path, start_worker: Callable[..., Daemon]
) -> None:
    pyoco = Pyoco(start, Gateway(start, nats, **{**QUICK, "PYOCO_POLL_LEASE_SEC": "600"}), tmp_path)
    (pyoco.folder / "wait").touch()
    run_id = pyoco.submit()
    pyoco.worker()
    eventually((pyoco.folder / "began").exists, what="the second task having begun")
    pyoco.gateway.daemon.kill()
    start_worker("--worker-id", "ours", PYOCO_ACK_PROGRESS_INTERVAL_SEC="0.5")
    with Parts(nats.url) as parts:
        look = "CONSUMER.INFO.PYOCO_WORK.pyoco_workers_default"
        eventually(lambda: parts.bus.api(look)["num_redelivered"], what="the job being delivered again")
    pyoco.gateway.restart()
    (pyoco.folder / "wait").unlink()
    run = pyoco.ended(run_id)
    assert (run["status"], run["attempt"]) == ("COMPLETED", 1)


def test_a_run_that_takes_too_long_fails_and_its_worker_goes_on_to_the_next(pyoco: Pyoco) -> None:
    (pyoco.folder / "wait").touch()
    worker = pyoco.worker()
    submission = {"flow_name": "main", "params": {"x": 1}, "timeout_sec": 1}
    run_id = requests.post(f"{pyoco.gateway.url}/runs", json=submission, timeout=10).json()["run_id"]
    run = pyoco.ended(run_id)
    assert (run["status"], run["error"]) == ("FAILED", "timeout: the run took longer than its 1 s.")
    (pyoco.folder / "wait").unlink()
    worker.wait_for_log("Cancellation requested from server")
    assert pyoco.ended(pyoco.submit())["status"] == "COMPLETED"
    assert pyoco.inspect(run_id)["status"] == "FAILED"


def test_a_worker_hears_of_a_cancel_in_the_last_task_and_goes_on_to_the_next_run(pyoco: Pyoco) -> None:
    (pyoco.folder / "wait").touch()
    worker = pyoco.worker()
    run_id = pyoco.submit()
    eventually((pyoco.folder / "began").exists, what="the last task having begun")
    pyoco("runs", "cancel", run_id)
    assert "Status: CANCELLING" in pyoco("runs", "show", run_id)
    (pyoco.folder / "wait").unlink()
    run = pyoco.ended(run_id)
    assert (run["status"], run["error"]) == ("CANCELLED", None)
    worker.wait_for_log("Cancellation requested from server")
    assert pyoco.ended(pyoco.submit())["status"] == "COMPLETED"


def test_a_run_that_nobody_has_begun_is_cancelled_by_pyocos_command(pyoco: Pyoco) -> None:
    run_id = pyoco.submit()
    assert f"Cancellation requested for run {run_id}" in pyoco("runs", "cancel", run_id)
    assert pyoco.ended(run_id)["status"] == "CANCELLED"
