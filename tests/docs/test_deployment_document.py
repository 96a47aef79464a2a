"""docs/deployment.md: its commands are understood, its files are there, and its settings are settings."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pyoco_server.config import Config, settings
from tests.support.commands import check_understood, run
from tests.support.documents import DOCS, blocks
from tests.support.tools import need

ROOT = DOCS.parent
TEXT = (DOCS / "deployment.md").read_text()
UNITS = ROOT / "deploy" / "systemd"


def commands(program: str) -> list[list[str]]:
    """Give the words after a program, of each line that calls it."""
    lines = [shlex.split(line.removeprefix("sudo ")) for block in blocks(TEXT, "sh") for line in block.splitlines()]
    return [words[1:] for words in lines if Path(words[0]).name == program]


@pytest.mark.parametrize("words", commands("pyoco-nats"), ids=" ".join)
def test_a_command_is_understood(words: list[str], tmp_path: Path) -> None:
    check_understood("pyoco-nats", *words, cwd=tmp_path)


def test_the_units_that_it_installs_are_written_as_it_says(tmp_path: Path) -> None:
    written = []
    for words in commands("pyoco-nats"):
        if words[:2] == ["service", "install"]:
            done = run("pyoco-nats", *words, "--unit-dir", str(tmp_path), cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            written.append((tmp_path / "pyoco-nats.service").read_text())
    assert len(written) == 3
    assert all("User=pyoco\n" in text and "/var/lib/pyoco-nats" in text for text in written)
    users = re.findall(r"^useradd .*?(\S+)$", (DOCS / "operations.md").read_text(), re.MULTILINE)
    for unit in UNITS.iterdir():
        assert re.findall(r"^User=(.*)$", unit.read_text(), re.M)[0] in users


def test_its_services_are_those_that_there_are() -> None:
    named = {word for words in commands("systemctl") for word in words if word.startswith("pyoco-")}
    assert named == {unit.stem for unit in UNITS.iterdir()} | {"pyoco-nats"}


def test_its_environment_files_hold_settings_and_what_the_units_take() -> None:
    files = re.findall(r"`/etc/pyoco/(\w+)\.env`:\n\n```ini\n(.*?)```", TEXT, re.DOTALL)
    assert [name for name, _ in files] == ["gateway", "worker"]
    known = {record.env for record in settings().values()}
    for name, text in files:
        given = dict(line.split("=", 1) for line in text.splitlines())
        flags = given.pop(f"{name.upper()}_FLAGS")
        assert given.keys() <= known
        config = Config.from_env(given)
        config.check_worker()
        program = "pyoco-server" if name == "gateway" else "pyoco-worker"
        words = ["up"] if name == "gateway" else []
        check_understood(program, *words, *shlex.split(flags), cwd=ROOT)
        assert f"EnvironmentFile=/etc/pyoco/{name}.env" in (UNITS / f"pyoco-{name}.service").read_text()


def test_its_files_and_variables_are_there() -> None:
    for path in re.findall(r"\bdeploy/[\w./-]+\.\w+|\bdeploy/docker/Dockerfile", TEXT):
        assert (ROOT / path).is_file(), path
    known = {record.env for record in settings().values()}
    for name in set(re.findall(r"\bPYOCO_[A-Z_]*[A-Z]\b(?!_…)", TEXT)):
        assert name in known or any(variable.startswith(f"{name}_") for variable in known), name


def test_what_it_checks_with_promtool_is_right() -> None:
    need("promtool", "prometheus")
    for words in commands("promtool"):
        done = subprocess.run(["promtool", *words], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
