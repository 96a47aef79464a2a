"""``--wait`` of ``submit``, ``submit-yaml`` and ``rerun``: the run is printed at its end, which is the exit status."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoco_server.states import RunStatus
from tests.conftest import HELLO_FLOW
from tests.support.commands import BIN, clean_env
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts
from tests.support.waiting import eventually

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(shared: LocalGateway, tmp_path: Path) -> Iterator[Start]:
    """Starts ``pyoco-client`` in the test's folder."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "flow.yaml").write_text(HELLO_FLOW)

    def start_one(*args: str, stderr: int = subprocess.PIPE, **extra: str) -> subprocess.Popen[str]:
        command = [str(BIN / "pyoco-client"), "--server", shared.url, *args]
        env = {name: value for name, value in clean_env(TERM="xterm", COLUMNS="100").items() if name != "NO_COLOR"}
        env.update(extra)
        process = subprocess.Popen(
            command, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def submitted(gateway: LocalGateway, flow: str, count: int = 1) -> list[str]:
    """Wait until so many runs of a flow are listed; gives their ids, the first first."""

    def look() -> list[str]:
        runs = gateway.get(f"/runs?flow={flow}").json()
        return [run["run_id"] for run in runs][::-1] if len(runs) == count else []

    return eventually(look, what=f"{count} runs of {flow}", timeout_sec=60)


def is_watched(gateway: LocalGateway, run_id: str) -> bool:
    return run_id in gateway.parts.model._watches


def end_of(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Give exit status, the documents of stdout, and stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err or ""


def flags(command: str, flow: str) -> tuple[str, ...]:
    files = ("--workflow-file", "flow.yaml", "--tag", "t") if command == "submit-yaml" else ()
    return (command, "--flow-name", flow, *files, "--wait")


@pytest.mark.parametrize("command", ["submit", "submit-yaml"])
@pytest.mark.parametrize(("status", "exit_status"), [(RunStatus.COMPLETED, 0), (RunStatus.FAILED, 1)])
def test_the_run_is_printed_when_it_has_ended_and_not_before(
    shared: LocalGateway, shared_parts: Parts, start: Start, command: str, status: RunStatus, exit_status: int
) -> None:
    flow = uuid.uuid4().hex
    process = start(*flags(command, flow))
    (run_id,) = submitted(shared, flow)
    shared_parts.change(run_id, status=RunStatus.RUNNING)
    assert process.poll() is None
    shared_parts.change(run_id, status=status, error=None if exit_status == 0 else "no room")
    found_status, documents, words = end_of(process)
    assert (found_status, documents) == (exit_status, [shared.get(f"/runs/{run_id}").json()])
    assert words == ("" if exit_status == 0 else f"ERR-PYOCO-RUN Run {run_id} ended as FAILED: no room\n")


def test_a_rerun_is_waited_for_and_its_key_gives_the_same_run(
    shared: LocalGateway, shared_parts: Parts, start: Start
) -> None:
    flow = uuid.uuid4().hex
    assert end_of(start("submit", "--flow-name", flow))[0] == 0
    (first,) = submitted(shared, flow)
    shared_parts.change(first, status=RunStatus.CANCELLING)
    shared_parts.change(first, status=RunStatus.CANCELLED)
    eventually(lambda: shared.get(f"/runs/{first}").json()["status"] == "CANCELLED", what="the end of the first run")
    process = start("rerun", first, "--wait", "--idempotency-key", flow)
    (again,) = set(submitted(shared, flow, 2)) - {first}
    shared_parts.change(again, status=RunStatus.RUNNING)
    shared_parts.end(again)
    found_status, (run,), _ = end_of(process)
    assert (found_status, run["run_id"], run["status"]) == (0, again, "COMPLETED")
    assert end_of(start("rerun", first, "--idempotency-key", flow))[1][0]["run_id"] == again


def test_a_run_that_does_not_end_in_time_is_printed_as_it_is(shared: LocalGateway, start: Start) -> None:
    found_status, (run,), words = end_of(start(*flags("submit", "slow"), "--wait-sec", "0.5"))
    assert (found_status, run["status"]) == (1, "PENDING")
    assert words == f"ERR-PYOCO-RUN Run {run['run_id']} has not ended; it is PENDING.\n"


def test_a_wait_that_is_interrupted_leaves_the_id_of_the_run(shared: LocalGateway, start: Start) -> None:
    flow = uuid.uuid4().hex
    process = start(*flags("submit", flow))
    (run_id,) = submitted(shared, flow)
    eventually(lambda: is_watched(shared, run_id), what="the command waiting")
    process.send_signal(signal.SIGINT)
    assert end_of(process) == (130, [{"run_id": run_id, "status": "PENDING"}], "")


def test_each_run_is_printed_at_its_end_in_the_order_of_the_file(
    shared: LocalGateway, shared_parts: Parts, start: Start, tmp_path: Path
) -> None:
    flow = uuid.uuid4().hex
    (tmp_path / "sets").write_text(f'{{"x": 1}}\n{json.dumps({"pad": "." * 300_000})}\n{{"x": 3}}\n')
    process = start(*flags("submit-yaml", flow), "--params-file", "sets", "--each")
    for run_id in submitted(shared, flow, 2):
        shared_parts.change(run_id, status=RunStatus.RUNNING)
        shared_parts.end(run_id)
    found_status, runs, words = end_of(process)
    assert [run["status"] for run in runs] == ["COMPLETED", 413, "COMPLETED"]
    assert [runs[0]["params"]["x"], runs[2]["params"]["x"]] == [1, 3]
    assert (found_status, words.splitlines()[-1]) == (
        1,
        "ERR-PYOCO-HTTP 1 of 3 runs were refused; the lines with a 'detail' say why.",
    )


def test_runs_that_do_not_all_complete_make_the_status_1(
    shared: LocalGateway, shared_parts: Parts, start: Start, tmp_path: Path
) -> None:
    flow = uuid.uuid4().hex
    (tmp_path / "sets").write_text("{}\n{}\n")
    process = start(*flags("submit-yaml", flow), "--params-file", "sets", "--each")
    for run_id, status in zip(submitted(shared, flow, 2), ("COMPLETED", "FAILED"), strict=True):
        shared_parts.change(run_id, status=RunStatus.RUNNING)
        shared_parts.end(run_id, RunStatus(status))
    found_status, runs, words = end_of(process)
    assert sorted(run["status"] for run in runs) == ["COMPLETED", "FAILED"]
    assert (found_status, words.splitlines()[-1].split(";")[0]) == (1, "ERR-PYOCO-RUN 1 of 2 runs are not COMPLETED")


def test_an_interrupted_wait_for_many_leaves_all_ids(shared: LocalGateway, start: Start, tmp_path: Path) -> None:
    flow = uuid.uuid4().hex
    (tmp_path / "sets").write_text("{}\n" * 3)
    process = start(*flags("submit-yaml", flow), "--params-file", "sets", "--each")
    run_ids = submitted(shared, flow, 3)
    eventually(lambda: any(is_watched(shared, run_id) for run_id in run_ids), what="the command waiting")
    process.send_signal(signal.SIGINT)
    found_status, runs, _ = end_of(process)
    assert (found_status, {run["run_id"] for run in runs}) == (130, set(run_ids))


def output_of(terminal: int) -> str:
    """Read what is shown on a terminal until nobody has it open."""
    shown = b""
    with contextlib.suppress(OSError):
        while more := os.read(terminal, 65536):
            shown += more
    os.close(terminal)
    return shown.decode()


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}], ids=["colours", "NO_COLOR"])
def test_a_terminal_shows_progress_and_stdout_has_the_run_alone(
    shared: LocalGateway, shared_parts: Parts, start: Start, env: dict[str, str]
) -> None:
    flow = uuid.uuid4().hex
    ours, theirs = os.openpty()
    process = start(*flags("submit", flow), stderr=theirs, **env)
    os.close(theirs)
    (run_id,) = submitted(shared, flow)
    shared_parts.change(run_id, status=RunStatus.RUNNING)
    shared_parts.end(run_id)
    found_status, (run,), _ = end_of(process)
    shown = output_of(ours)
    assert (found_status, run["status"]) == (0, "COMPLETED")
    assert "task_records" not in run
    assert run_id in shown and "COMPLETED" in shown
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)) != bool(env)


def test_a_time_to_wait_without_waiting_is_refused(start: Start) -> None:
    found_status, documents, words = end_of(start("submit", "--wait-sec", "5"))
    assert (found_status, documents) == (1, [])
    assert words.startswith("ERR-PYOCO-0018 --wait-sec")
