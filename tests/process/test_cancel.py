"""Cancelling runs through the installed commands, with workers that execute them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from pyoco_server.client.http import PyocoHttpClient
from tests.conftest import Gateway
from tests.support.commands import Daemon, run
from tests.support.fleet import TAG, Fleet, flow
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

#: A worker that writes signs of life this rarely cannot learn of a cancel by them.
RARELY = {"PYOCO_RUN_HEARTBEAT_INTERVAL_SEC": "15"}


@pytest.fixture
def worker(start_worker: Callable[..., Daemon], fleet: Fleet) -> Daemon:
    return start_worker("--tags", TAG, "--worker-id", "w1", **RARELY)


def submit(client: PyocoHttpClient, graph: str) -> str:
    run_id: str = client.submit_run_yaml(flow(graph), flow_name="main", tag=TAG)["run_id"]
    return run_id


def command(gateway: Gateway, folder: Path, *arguments: str) -> Any:
    return run("pyoco-client", "--server", gateway.url, *arguments, cwd=folder)


def test_run_that_cooperates_is_cancelled_within_a_second(
    client: PyocoHttpClient, fleet: Fleet, worker: Daemon
) -> None:
    run_id = submit(client, "quick >> until_cancelled >> after")
    # From here on the worker has nothing to write.
    fleet.running(run_id, "until_cancelled")
    marked = client.cancel_run(run_id)
    answered_at = time.monotonic()
    assert marked["status"] == "CANCELLING"
    ended = fleet.ended(run_id, "CANCELLED", timeout_sec=5)
    assert time.monotonic() - answered_at < 1
    assert ended["error"] is None
    # It ended in order, before the run.
    assert ended["tasks"]["until_cancelled"] == "SUCCEEDED"
    assert ended["tasks"]["after"] in ("CANCELLED", "PENDING")
    assert ended["cancel_requested_at"] == marked["cancel_requested_at"]
    assert not fleet.dead_letters(run_id)


def test_cancel_is_heard_of_after_the_connection_was_lost(
    gateway: Gateway, client: PyocoHttpClient, fleet: Fleet, worker: Daemon, nats: NatsServer
) -> None:
    run_id = submit(client, "until_cancelled")
    fleet.wait_for_file("waits-for-cancel")
    nats.stop()
    nats.start()
    worker.wait_for_log("connected to NATS again")
    eventually(lambda: requests.get(f"{gateway.url}/ready", timeout=5).ok, what="the gateway being ready")
    client.cancel_run(run_id)
    answered_at = time.monotonic()
    fleet.ended(run_id, "CANCELLED", timeout_sec=10)
    assert time.monotonic() - answered_at < 1.5


def test_run_that_was_cancelled_in_the_queue_is_never_executed(
    client: PyocoHttpClient, fleet: Fleet, start_worker: Callable[..., Daemon]
) -> None:
    cancelled, other = submit(client, "left"), submit(client, "quick")
    client.cancel_run(cancelled)
    fleet.ended(cancelled, "CANCELLED", timeout_sec=5)
    start_worker("--tags", TAG)
    fleet.ended(other)
    assert fleet.run(cancelled)["status"] == "CANCELLED"
    assert fleet.run(cancelled)["worker_id"] is None
    assert not (fleet.folder / "left-is-there").exists()


def test_runs_that_are_cancelled_while_a_worker_takes_them_all_end_and_none_is_executed_after_it(
    client: PyocoHttpClient, fleet: Fleet, start_worker: Callable[..., Daemon]
) -> None:
    runs = [submit(client, "quick") for _ in range(60)]
    start_worker("--tags", TAG, "--concurrency", "2", **RARELY)
    # The last first: the worker begins at the other end.
    for run_id in reversed(runs):
        assert client.cancel_run(run_id)["status"] in ("CANCELLING", "COMPLETED")
    eventually(lambda: all(fleet.is_over(run_id) for run_id in runs), what="the end of every run")
    ends = [fleet.run(run_id) for run_id in runs]
    assert {end["status"] for end in ends} <= {"CANCELLED", "COMPLETED"}
    assert any(end["status"] == "CANCELLED" for end in ends)
    eventually(fleet.queue_is_empty, what="the queue being empty")
    for end in ends:
        if end["worker_id"] is None:
            assert end["attempt"] == 0 and set(end["tasks"].values()) == {"PENDING"}


def test_cancel_command_waits_for_the_end(
    gateway: Gateway, client: PyocoHttpClient, fleet: Fleet, worker: Daemon, tmp_path: Path
) -> None:
    run_id = submit(client, "until_cancelled")
    fleet.wait_for_file("waits-for-cancel")
    done = command(gateway, tmp_path, "cancel", "--run-id", run_id, "--wait")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["status"] == "CANCELLED"
    again = command(gateway, tmp_path, "cancel", "--run-id", run_id)
    assert (again.returncode, json.loads(again.stdout)["status"]) == (0, "CANCELLED")


def test_cancel_command_that_has_waited_for_nothing_says_so(
    gateway: Gateway, client: PyocoHttpClient, fleet: Fleet, worker: Daemon, tmp_path: Path
) -> None:
    run_id = submit(client, "hold")
    fleet.wait_for_file("go.begun")
    waited = command(gateway, tmp_path, "cancel", "--run-id", run_id, "--wait", "--timeout-sec", "1")
    assert (waited.returncode, waited.stdout) == (1, "")
    assert waited.stderr.startswith("ERR-PYOCO-CANCEL") and "CANCELLING" in waited.stderr
    fleet.touch("go")


def test_cancel_command_names_what_is_wrong(gateway: Gateway, tmp_path: Path) -> None:
    unknown = command(gateway, tmp_path, "cancel", "--run-id", "nope")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("ERR-PYOCO-HTTP HTTP 404 POST /runs/nope/cancel")
    for wrong in (["cancel"], ["cancel", "--run-id", "x", "--wait", "--timeout-sec", "0"]):
        refused = command(gateway, tmp_path, *wrong)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("ERR-PYOCO-0018") and "cancel --run-id" in refused.stderr
