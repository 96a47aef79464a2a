"""``pyoco-client submit-yaml --each``: a run for each set of parameters in a file."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import HELLO_FLOW
from tests.support.commands import BIN, clean_env, run
from tests.support.gateway import LocalGateway

FLAGS = ("--workflow-file", "flow.yaml", "--flow-name", "main", "--tag", "hello")


def submit_each(
    local: LocalGateway, folder: Path, content: str | bytes, *flags: str, file: str = "sets"
) -> subprocess.CompletedProcess[str]:
    (folder / "flow.yaml").write_text(HELLO_FLOW)
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "sets").write_bytes(data)
    command = [str(BIN / "pyoco-client"), "--server", local.url, "submit-yaml", *FLAGS, "--params-file", file, *flags]
    done = subprocess.run(command, cwd=folder, env=clean_env(), input=data, capture_output=True, timeout=60)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def results(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def params(local: LocalGateway, done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return [local.get(f"/runs/{run['run_id']}").json()["params"] for run in results(done)]


@pytest.mark.parametrize(
    "content",
    [
        '{"x": 5}\n{"y": "é"}\n',
        b'\xef\xbb\xbf\n{"x": 5}\r\n\n{"y": "\xc3\xa9"}',
        '[{"x": 5},\n {"y": "é"}]',
        "- x: 5\n- y: é\n",
    ],
)
@pytest.mark.parametrize("file", ["sets", "-"])
def test_json_lines_and_lists_in_json_or_yaml_are_read(
    shared: LocalGateway, tmp_path: Path, content: str | bytes, file: str
) -> None:
    done = submit_each(shared, tmp_path, content, "--each", file=file)
    assert params(shared, done) == [{"x": 5}, {"x": 1, "y": "é"}]


def test_params_of_the_command_line_are_laid_over_each_set(shared: LocalGateway, tmp_path: Path) -> None:
    done = submit_each(
        shared, tmp_path, '{"x": 5}\n{"z": 0}\n', "--each", "--params", '{"y": 1, "z": 2}', "--param", "z=3"
    )
    assert params(shared, done) == [{"x": 5, "y": 1, "z": 3}, {"x": 1, "y": 1, "z": 3}]


def test_without_each_the_file_is_one_set_for_one_run(shared: LocalGateway, tmp_path: Path) -> None:
    done = submit_each(shared, tmp_path, "x: 7\n", "--param", "y=z")
    assert params(shared, done) == [{"x": 7, "y": "z"}]


def test_a_file_larger_than_a_batch_is_one_command_with_its_progress_on_stderr(
    shared: LocalGateway, tmp_path: Path
) -> None:
    done = submit_each(shared, tmp_path, "".join(f'{{"x": {number}}}\n' for number in range(2_500)), "--each")
    runs = results(done)
    assert len({each["run_id"] for each in runs}) == 2_500
    assert {each["status"] for each in runs} == {"PENDING"}
    assert done.stderr.splitlines() == ["1000 of 2500 runs", "2000 of 2500 runs", "2500 of 2500 runs"]
    last = shared.get(f"/runs/{runs[-1]['run_id']}").json()
    assert last["params"] == {"x": 2_499}


def test_sets_too_large_for_one_request_go_out_in_several(shared: LocalGateway, tmp_path: Path) -> None:
    line = json.dumps({"pad": "." * 200_000}) + "\n"
    done = submit_each(shared, tmp_path, line * 60, "--each")
    assert len(results(done)) == 60, done.stderr


def test_a_refused_run_is_a_line_of_its_own_and_the_status_is_1(shared: LocalGateway, tmp_path: Path) -> None:
    large = json.dumps({"pad": "." * 300_000})
    done = submit_each(shared, tmp_path, f'{{"x": 1}}\n{large}\n{{"x": 3}}\n', "--each")
    assert done.returncode == 1
    assert [run["status"] for run in results(done)] == ["PENDING", 413, "PENDING"]
    assert done.stderr.splitlines()[-1].startswith("ERR-PYOCO-HTTP 1 of 3 runs were refused")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"x": 1}\n{"x": 2\n', "line 2 is not JSON"),
        ('{"x": 1}\n[2]\n', "line 2 must be an object of names and values, not a list"),
        ('{"x": 1}\n{"x": NaN}\n', "line 2 is not JSON: NaN"),
        (b'{"x": 1}\n{"x": "\xff"}\n', "line 2 is not JSON"),
        ("- x: 1\n- 7\n", "item 2 must be an object"),
        ("- x: 2026-01-01\n", "has a value that JSON cannot carry"),
        ("x: 1\n", "must be a list of objects"),
        ("\n\n", "is empty"),
    ],
)
def test_a_fault_in_the_file_is_named_before_anything_is_submitted(
    shared: LocalGateway, tmp_path: Path, content: str | bytes, words: str
) -> None:
    before = shared.parts.bus.api("STREAM.INFO.PYOCO_WORK")["state"]["last_seq"]
    done = submit_each(shared, tmp_path, content, "--each")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERR-PYOCO-0018 --params-file sets")
    assert words in done.stderr
    assert shared.parts.bus.api("STREAM.INFO.PYOCO_WORK")["state"]["last_seq"] == before


def test_a_workflow_with_a_fault_is_refused_as_for_one_run(shared: LocalGateway, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("version: 1\nflows: {}\n")
    done = submit_each(shared, tmp_path, "{}\n", "--each", "--workflow-file", "bad.yaml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERR-PYOCO-HTTP HTTP 422 POST /runs/batch: ")
    assert "line 2" in done.stderr


def test_each_without_a_file_is_refused(shared: LocalGateway, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(HELLO_FLOW)
    done = run("pyoco-client", "--server", shared.url, "submit-yaml", *FLAGS, "--each", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERR-PYOCO-0018 --each needs --params-file")


def test_a_terminal_shows_a_bar(shared: LocalGateway, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(HELLO_FLOW)
    (tmp_path / "sets").write_text("{}\n" * 3)
    ours, theirs = os.openpty()
    command = [str(BIN / "pyoco-client"), "--server", shared.url, "submit-yaml", *FLAGS, "--params-file", "sets"]
    env = clean_env(TERM="xterm", COLUMNS="100")
    process = subprocess.Popen([*command, "--each"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    output = process.communicate(timeout=30)[0]
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert process.returncode == 0
    assert "3/3" in shown
    assert len(output.splitlines()) == 3
