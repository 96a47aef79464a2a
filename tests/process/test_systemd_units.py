"""The units under deploy/systemd: systemd takes them, and their commands start with the values that they give."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import BIN, check_understood
from tests.support.tools import need

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
#: Figure of `systemd-analyze security` at most: the lower, the less a service can do. A worker runs the team's code.
EXPOSURE = {"pyoco-gateway.service": 1.5, "pyoco-worker.service": 5.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units, with the programs of this environment and without man pages, which are elsewhere here."""
    need("systemd-analyze", "systemd")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/pyoco/bin", str(BIN))
        (tmp_path / unit.name).write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.M))
    return tmp_path


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", sorted(EXPOSURE))
def test_systemd_takes_a_unit_without_a_word(folder: Path, name: str) -> None:
    checked = analyze("verify", str(folder / name))
    assert (checked.returncode, [line for line in checked.stderr.splitlines() if "pyoco" in line]) == (0, [])


@pytest.mark.parametrize("name", sorted(EXPOSURE))
def test_a_service_can_do_little_beside_its_work(folder: Path, name: str) -> None:
    judged = analyze("security", "--offline=true", "--no-pager", str(folder / name))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert found is not None, judged.stderr
    assert float(found[1]) <= EXPOSURE[name]


@pytest.mark.parametrize("name", sorted(EXPOSURE))
def test_a_unit_has_a_command_that_is_understood(name: str, tmp_path: Path) -> None:
    text = (UNITS / name).read_text()
    given = dict(re.findall(r'^Environment="(\w+)=(.*)"$', text, re.M))
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    for variable, value in given.items():
        command = command.replace(f"${variable}", value)
    program, *words = shlex.split(command.replace("%H", "n1.example.org"))
    assert Path(program).parent == Path("/opt/pyoco/bin")
    check_understood(Path(program).name, *words, cwd=tmp_path)
