"""``pyoco-server up --with-worker``: a worker beside the gateway, kept alive by it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pyoco_server.client.http import PyocoHttpClient
from tests.conftest import HELLO_FLOW
from tests.process.conftest import Up
from tests.support.processes import Family
from tests.support.waiting import eventually
from tests.support.wheels import file_name, wheel

RESOLVER = """\
from pyoco import Flow, task

@task
def greet(name: str = "you") -> str:
    return f"hello {name}"

def resolve(name):
    flow = Flow(name)
    flow >> greet
    return flow
"""
WORKER = "pyoco_server.cli.worker"


def ended(client: PyocoHttpClient, run_id: str) -> dict[str, Any]:
    return eventually(
        lambda: run if (run := client.get_run_with_records(run_id))["status"] == "COMPLETED" else None,
        what="the run's completion",
    )


@pytest.mark.long
def test_its_flags_reach_the_worker(up: Up, tmp_path: Path, family: Family) -> None:
    (tmp_path / "flows.py").write_text(RESOLVER)
    flags = ("--worker-id", "w1", "--worker-tags", "a,b", "--worker-flow-resolver", "flows.py:resolve")
    daemon = up.serve("--with-worker", *flags, "--worker-poll-timeout", "0.5")
    daemon.wait_for_log("the worker serves a, b")
    with PyocoHttpClient(up.url) as client:
        run = ended(client, client.submit_run("main", {"name": "all"}, tag="b")["run_id"])
    assert run["worker_id"] == "w1"
    assert run["task_records"]["greet"]["output"] == "hello all"
    (worker,) = family.members(WORKER)
    assert "--poll-timeout 0.5" in worker.command
    assert daemon.stop() == 0
    assert family.members() == []


@pytest.mark.long
def test_the_resolver_of_a_worker_with_wheel_sync_may_stand_in_a_wheel(up: Up) -> None:
    env = {"PYOCO_WHEEL_SYNC_ENABLED": "1", "PYOCO_WHEEL_SYNC_INTERVAL_SEC": "0.1"}
    up.serve("--with-worker", "--worker-flow-resolver", "demo:resolve", **env)
    with PyocoHttpClient(up.url) as client:
        client.upload_wheel(filename=file_name(), data=wheel(files={"demo/__init__.py": RESOLVER.encode()}))
        run = ended(client, client.submit_run("main")["run_id"])
    assert run["task_records"]["greet"]["output"] == "hello you"


@pytest.mark.long
def test_one_that_dies_is_started_again_under_the_same_name(up: Up, family: Family) -> None:
    daemon = up.serve("--with-worker", "--worker-tags", "hello")
    daemon.wait_for_log("the worker serves")
    os.kill(family.members(WORKER)[0].pid, signal.SIGKILL)
    daemon.wait_for_log("it is started again(.*\n)+.*the worker serves")
    with PyocoHttpClient(up.url) as client:
        run_id = client.submit_run_yaml(HELLO_FLOW, flow_name="main", tag="hello")["run_id"]
        assert ended(client, run_id)["worker_id"].endswith(f"-{up.port}")
    # Its sentinel goes on until it has told NATS, which would be gone else.
    daemon.wait_for_log("the worker died; its processes were ended")
    assert daemon.stop() == 0
    assert family.members() == []


@pytest.mark.long
@pytest.mark.parametrize("how", ["drained", "SIGTERM"])
def test_one_that_is_told_to_end_is_gone_until_the_command_is_started_again(up: Up, family: Family, how: str) -> None:
    daemon = up.serve("--with-worker", "--worker-id", "beside")
    daemon.wait_for_log("the worker serves")
    with PyocoHttpClient(up.url) as client:
        if how == "drained":
            client.drain_worker("beside")
        else:
            os.kill(family.members(WORKER)[0].pid, signal.SIGTERM)
        daemon.wait_for_log("worker has ended as somebody told it to, and is not started again")
        eventually(
            lambda: [record["state"] for record in client.get_workers(scope="all")] == ["STOPPED_GRACEFUL"],
            what="the worker being listed as stopped",
        )
    assert family.members(WORKER) == []
    assert '"level": "ERROR"' not in daemon.log
    # The gateway goes on.
    assert daemon.stop() == 0
    assert family.members() == []


@pytest.mark.long
def test_the_password_of_nats_is_in_no_command_line(up: Up, family: Family) -> None:
    """Everybody on the machine may read those."""
    env = {"PYOCO_NATS_URL": up.nats_url.replace("//", "//me:s3cret@")}
    up.serve()
    second = Up(up._start, family)
    daemon = second._start(
        "pyoco-server", "--with-worker", "--port", str(second.port), PYOCO_TEST_FAMILY=family.mark, **env
    )
    daemon.wait_for_log("the worker serves")
    assert family.members(WORKER)
    assert family.members("s3cret") == []


@pytest.mark.long
def test_a_stop_lets_the_run_that_goes_on_end(up: Up, tmp_path: Path, family: Family) -> None:
    (tmp_path / "slow.py").write_text("import time\n\ndef nap() -> str:\n    time.sleep(1.5)\n    return 'rested'\n")
    flow = "version: 1\nflow:\n  graph: nap\ntasks:\n  nap:\n    callable: slow:nap\n"
    daemon = up.serve("--with-worker", PYTHONPATH=str(tmp_path))
    with PyocoHttpClient(up.url) as client:
        run_id = client.submit_run_yaml(flow, flow_name="main")["run_id"]
        eventually(lambda: client.get_run(run_id)["status"] == "RUNNING", what="the run being executed")
        assert daemon.stop() == 0
        assert family.members() == []
        up.serve("--with-worker", PYTHONPATH=str(tmp_path))
        run = ended(client, run_id)
    assert (run["task_records"]["nap"]["output"], run["attempt"]) == ("rested", 1)


@pytest.mark.long
def test_a_second_signal_does_not_wait_for_the_run_that_goes_on(up: Up, tmp_path: Path, family: Family) -> None:
    (tmp_path / "slow.py").write_text("import time\n\ndef nap() -> None:\n    time.sleep(60)\n")
    flow = "version: 1\nflow:\n  graph: nap\ntasks:\n  nap:\n    callable: slow:nap\n"
    daemon = up.serve("--with-worker", PYTHONPATH=str(tmp_path))
    with PyocoHttpClient(up.url) as client:
        run_id = client.submit_run_yaml(flow, flow_name="main")["run_id"]
        eventually(lambda: client.get_run(run_id)["status"] == "RUNNING", what="the run being executed")
    daemon.process.send_signal(signal.SIGTERM)
    # The worker has taken the first one: else the second would be its first.
    eventually(lambda: not daemon.process.poll() and "the worker stops" in daemon.log, what="the worker's stop")
    assert daemon.stop(signal.SIGINT, timeout_sec=10) == 0
    assert family.members() == []
