"""``pyoco-nats service`` writes units that systemd takes, and removes its own alone."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import BIN, Daemon, reason, run
from tests.support.nodes import NodeProcess
from tests.support.tools import need


def service(folder: Path, action: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return run("pyoco-nats", "service", action, "--unit-dir", str(folder), *flags, cwd=folder)


def command_of(unit: Path) -> list[str]:
    found = re.search(r"^ExecStart=(.*)$", unit.read_text(), re.M)
    assert found is not None
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(found[1])]


@pytest.mark.parametrize("folder", ["data", "a folder", '50 % of "$HOME"'])
def test_a_unit_is_one_that_systemd_takes_and_its_command_runs_the_node(
    start: Callable[..., Daemon], tmp_path: Path, folder: str
) -> None:
    need("systemd-analyze", "systemd")
    node = NodeProcess(start, tmp_path, folder)
    done = service(tmp_path, "install", "--service-name", "team", *node.flags[:-4], "--datafolder", folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    unit = tmp_path / "team.service"
    assert told["unit"] == str(unit) and told["next"].endswith("systemctl enable --now team")
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert [line for line in checked.stderr.splitlines() if "team.service" in line] == []
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        timeout=60,
    )
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", judged.stdout)
    assert exposure is not None and float(exposure[1]) <= 4.0, judged
    assert (checked.returncode, "Environment=PYOCO_NATS_SYNC=always\n" in unit.read_text()) == (0, True)
    prog, *words = command_of(unit)
    assert prog == str(BIN / "pyoco-nats")
    node.daemon = start("pyoco-nats", *words)
    node.wait_until_whole()
    assert (tmp_path / folder / "nats-server.pid").exists()


def test_a_unit_with_a_seed_joins(tmp_path: Path) -> None:
    assert service(tmp_path, "install", "--seed", "n1,n2:6333", "--listen", "n3").returncode == 0
    words = command_of(tmp_path / "pyoco-nats.service")
    assert words[1:6] == ["join", "--seed", "n1:6222,n2:6333", "--listen", "n3:6222"]
    assert words[-2:] == ["--datafolder", str(tmp_path / ".pyoco" / "nats")]


def test_uninstall_removes_a_unit_of_its_own_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.service"
    other.write_text("[Service]\nExecStart=/bin/true\n")
    for action in ("install", "uninstall"):
        done = service(tmp_path, action, "--service-name", "other")
        assert (done.returncode, done.stdout) == (1, "")
        assert reason(done.stderr).startswith("ERR-PYOCO-0018 ")
    assert "/bin/true" in other.read_text()
    assert service(tmp_path, "install").returncode == 0
    # A second time it is written anew.
    assert service(tmp_path, "install", "--client-port", "4333").returncode == 0
    assert "--client-port 4333" in (tmp_path / "pyoco-nats.service").read_text()
    done = service(tmp_path, "uninstall")
    assert done.returncode == 0 and "systemctl disable --now pyoco-nats" in json.loads(done.stdout)["next"]
    assert not (tmp_path / "pyoco-nats.service").exists()
    assert service(tmp_path, "uninstall").returncode == 1
