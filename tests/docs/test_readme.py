"""What the README shows is carried out as it stands there; only ports and ids are put in."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_reference import commands
from tests.support.commands import Daemon, clean_env
from tests.support.documents import blocks, code_blocks, table
from tests.support.nats import free_port
from tests.support.tools import need
from tests.support.wheels import PLUGIN, write_wheel

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text()
JAPANESE = README.with_name("README_ja.md")


def shell_lines() -> list[str]:
    return [line for block in blocks(TEXT, "sh") for line in block.splitlines() if line]


@pytest.fixture
def system(tmp_path: Path, start: Callable[..., Daemon]) -> str:
    """The README's own example, started in a folder as the README says; gives the gateway's address."""
    (tmp_path / "tasks.py").write_text(blocks(TEXT, "python")[0])
    (tmp_path / "flow.yaml").write_text(blocks(TEXT, "yaml")[0])
    (command,) = [line for line in shell_lines() if line == "pyoco-server up --with-worker"]
    daemon = start(*command.split(), "--port", "0", "--nats-client-port", str(free_port()))
    return daemon.wait_for_log(r"serves at (http://[\d.:]+)")[1]


def carry_out(line: str, folder: Path, address: str, run_id: str = "") -> str:
    """Carry out a line of the README in a shell, and give what it prints."""
    line = line.replace("http://127.0.0.1:8000", address).replace("RUN_ID", run_id)
    line = re.sub(r"^pyoco-client ", f"pyoco-client --server {address} ", line)
    done = subprocess.run(
        line, shell=True, cwd=folder, env=clean_env(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_languages_show_the_same() -> None:
    english, japanese = TEXT, JAPANESE.read_text()
    assert [block.without_comments for block in code_blocks(japanese)] == [
        block.without_comments for block in code_blocks(english)
    ]
    for same in (
        r"^(#+) ",
        r"`(pyoco-[^`]+|api-key [^`]+|[a-z]+(?:-[a-z]+)*)`",
        r"\]\((?!docs/images)([^)#]+?)(?:_ja)?(?:\.md)?\)",
    ):
        assert sorted(re.findall(same, japanese, re.MULTILINE)) == sorted(re.findall(same, english, re.MULTILINE))
    assert "](README_ja.md)" in "".join(english.splitlines()[:4])


@pytest.mark.parametrize(
    ("readme", "head", "what"), [(README, "command", "what it does"), (JAPANESE, "コマンド", "できること")]
)
def test_readme_names_every_subcommand_of_the_client(readme: Path, head: str, what: str) -> None:
    (row,) = [row for row in table(readme.read_text(), head) if row[head] == "pyoco-client"]
    (client,) = [command for command in commands() if command.words == "pyoco-client"]
    told = re.findall("`([^`]+)`", row[what])
    assert sorted(told) == sorted(each.words.partition(" ")[2] for each in client.subcommands)


def test_readme_example_runs_by_our_client(tmp_path: Path, system: str) -> None:
    submit, watch, logs, artifacts, upload = [line for line in shell_lines() if line.startswith("pyoco-client")]
    run_id = json.loads(carry_out(submit, tmp_path, system))["run_id"]
    shown = carry_out(watch, tmp_path, system, run_id)
    assert "COMPLETED" in shown
    assert " fetch stdout | asking for Kyoto\n" in carry_out(logs, tmp_path, system, run_id)
    assert json.loads(carry_out(artifacts, tmp_path, system, run_id)) == []
    (tmp_path / "dist").mkdir()
    write_wheel(tmp_path / "dist", "my_tasks", "1.2", entry_points=PLUGIN.format(package="my_tasks"))
    assert json.loads(carry_out(upload, tmp_path, system))["tags"] == ["cpu"]


def test_readme_example_runs_by_curl(tmp_path: Path, system: str) -> None:
    need("curl", "curl")
    submit, watch, wait, tasks, logs = [line for line in shell_lines() if line.startswith("curl")]
    run_id = json.loads(carry_out(submit, tmp_path, system))["run_id"]
    assert "event: snapshot" in carry_out(watch, tmp_path, system, run_id)
    assert json.loads(carry_out(wait, tmp_path, system, run_id))["status"] == "COMPLETED"
    records = json.loads(carry_out(tasks, tmp_path, system, run_id))["task_records"]
    assert records["say"]["output"] == "21 degrees in Oslo"
    assert " fetch stdout | asking for Oslo\n" in carry_out(logs, tmp_path, system, run_id)
