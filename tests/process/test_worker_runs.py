"""What a worker makes of runs: results, failures, output, parameters, resolvers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoco_server.client.http import PyocoHttpClient
from tests.conftest import HELLO_FLOW
from tests.support.commands import Daemon, run
from tests.support.waiting import eventually

RESOLVER = Path(__file__).parents[2] / "examples" / "hello_flow.py"

TASKS = """\
import os, signal, sys, time
from pathlib import Path

def meet(me, other):
    Path(FOLDER, me).touch()
    deadline = time.monotonic() + 10
    while not Path(FOLDER, other).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{other} never ran beside {me}")
        time.sleep(0.01)
    return me

def left(): return meet("left", "right")
def right(): return meet("right", "left")
def join(left, right): return [left, right]
def fail(): raise ValueError("no such order")
def after(): return "never"
def die(): os.kill(os.getpid(), signal.SIGKILL)
def leave(): sys.exit(3)
def talk():
    print("said by python")
    os.write(1, b"said by C \\xff\\n")
    return object()
"""


@pytest.fixture
def execute(
    tmp_path: Path, client: PyocoHttpClient, start_worker: Callable[..., Daemon]
) -> Callable[..., dict[str, Any]]:
    """Runs a graph over the tasks above and gives the terminal snapshot."""
    (tmp_path / "sample_tasks.py").write_text(f"FOLDER = {str(tmp_path)!r}\n{TASKS}")
    start_worker("--tags", "t", "--worker-id", "w1")

    def execute_one(graph: str, **callables: str) -> dict[str, Any]:
        tasks = {name: {"callable": path} for name, path in callables.items()}
        flow = json.dumps({"version": 1, "tasks": tasks, "flow": {"graph": graph}})
        run_id = client.submit_run_yaml(flow, flow_name="main", tag="t")["run_id"]
        ended = ("COMPLETED", "FAILED", "CANCELLED")
        eventually(lambda: client.get_run(run_id)["status"] in ended, what="the run's end")
        return client.get_run_with_records(run_id)

    return execute_one


def tasks(*names: str) -> dict[str, str]:
    return {name: f"sample_tasks:{name}" for name in names}


def test_branches_run_side_by_side(execute: Callable[..., dict[str, Any]]) -> None:
    ended = execute("(left & right) >> join", **tasks("left", "right", "join"))
    assert ended["status"] == "COMPLETED", ended["error"]
    assert ended["task_records"]["join"]["output"] == ["left", "right"]


def test_failing_task_fails_the_run_with_its_error_and_the_worker_goes_on(
    execute: Callable[..., dict[str, Any]],
) -> None:
    ended = execute("fail >> after", **tasks("fail", "after"))
    assert (ended["status"], ended["error"]) == ("FAILED", "no such order")
    assert ended["tasks"] == {"fail": "FAILED", "after": "PENDING"}
    assert "ValueError: no such order" in ended["task_records"]["fail"]["traceback"]
    assert execute("after", **tasks("after"))["status"] == "COMPLETED"


def test_dead_runner_fails_its_run_in_words_and_the_worker_goes_on(execute: Callable[..., dict[str, Any]]) -> None:
    ended = execute("die", **tasks("die"))
    assert ended["status"] == "FAILED"
    assert ended["error"].startswith("worker_process_died: ") and "SIGKILL" in ended["error"]
    assert execute("after", **tasks("after"))["status"] == "COMPLETED"


def test_task_that_exits_fails_like_any_other(execute: Callable[..., dict[str, Any]]) -> None:
    ended = execute("leave", **tasks("leave"))
    assert (ended["status"], ended["tasks"]["leave"]) == ("FAILED", "FAILED")
    assert "SystemExit" in ended["error"]


def test_module_that_cannot_be_imported_fails_the_run_with_the_import_error(
    execute: Callable[..., dict[str, Any]],
) -> None:
    ended = execute("lost", lost="no_such_module:f")
    assert ended["status"] == "FAILED"
    assert ended["error"].startswith("flow_not_found: ") and "No module named 'no_such_module'" in ended["error"]


def test_printed_text_is_in_the_log_of_the_worker(tmp_path: Path, execute: Callable[..., dict[str, Any]]) -> None:
    ended = execute("talk", **tasks("talk"))
    assert ended["status"] == "COMPLETED"
    assert "object object" in ended["task_records"]["talk"]["output"]

    def lines() -> list[dict[str, Any]]:
        logs = tmp_path.glob("pyoco-worker-*.log")
        return [json.loads(line) for log in logs for line in log.read_text().splitlines() if '"said by' in line]

    found = eventually(lambda: found if len(found := lines()) == 2 else None, what="both lines in the log")
    assert {line["run_id"] for line in found} == {ended["run_id"]}
    assert [line["task"] for line in found if line["message"] == "said by python"] == ["talk"]


def test_parameters_lie_over_the_defaults_of_the_flow(
    tmp_path: Path, gateway: Any, client: PyocoHttpClient, start_worker: Callable[..., Daemon]
) -> None:
    start_worker("--tags", "hello", "--flow-resolver", f"{RESOLVER}:resolve_flow")
    by_name = client.submit_run("main", {"x": 41}, tag="hello")["run_id"]
    unknown = client.submit_run("other", {}, tag="hello")["run_id"]
    eventually(lambda: client.get_run(by_name)["status"] == "COMPLETED", what="the run by flow name")
    assert client.get_run_with_records(by_name)["task_records"]["to_text"]["output"] == "v=42"
    eventually(lambda: client.get_run(unknown)["status"] == "FAILED", what="the end of the run of an unknown flow")
    assert client.get_run(unknown)["error"].startswith("flow_not_found: other")
    (tmp_path / "flow.yaml").write_text(HELLO_FLOW)
    listed = run("pyoco-client", "--server", gateway.url, "list", "--status", "COMPLETED", cwd=tmp_path)
    assert [item["run_id"] for item in json.loads(listed.stdout)] == [by_name]


def test_resolver_that_cannot_be_imported_ends_the_worker_at_once(tmp_path: Path) -> None:
    done = run("pyoco-worker", "--flow-resolver", "no_such_module:f", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("ERR-PYOCO-0018") and "Traceback" not in done.stderr
