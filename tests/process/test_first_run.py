"""The shortest whole path: submit, execute, read."""

from __future__ import annotations

from collections.abc import Callable

from pyoco_server.client.http import PyocoHttpClient
from tests.conftest import HELLO_FLOW
from tests.support.commands import Daemon
from tests.support.waiting import eventually


def test_submitted_workflow_ends_completed_with_its_results(
    client: PyocoHttpClient, start_worker: Callable[..., Daemon]
) -> None:
    start_worker("--tags", "hello", "--worker-id", "w1")
    run_id = client.submit_run_yaml(HELLO_FLOW, flow_name="main", tag="hello")["run_id"]
    eventually(lambda: client.get_run(run_id)["status"] == "COMPLETED", what="the run's completion")
    run = client.get_run_with_records(run_id)
    assert {name: record["output"] for name, record in run["task_records"].items()} == {"add_one": 2, "to_text": "v=2"}
    assert run["worker_id"] == "w1"
