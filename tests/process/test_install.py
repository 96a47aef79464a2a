"""What is installed from a clone and from an sdist, with real packages: the quickstart of 0.5.1, word for word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HELLO_FLOW
from tests.support.clones import copy_clone
from tests.support.commands import BIN
from tests.support.nats import free_port
from tests.support.tools import need
from tests.support.waiting import eventually

COMMANDS = ("pyoco-server", "pyoco-worker", "pyoco-client", "pyoco-server-admin", "pyoco-nats")
_INSTALL_SEC = 300

pytestmark = pytest.mark.long


def env(folder: Path) -> dict[str, str]:
    """Give the environment of somebody who has uv and nothing of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYOCO_", "PYTHON", "VIRTUAL"))}
    return {**kept, "PATH": f"{folder / 'bin'}:/usr/bin:/bin", "UV_PYTHON": sys.executable}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone, with uv on PATH."""
    (tmp_path / "bin").mkdir()
    for name in ("uv", "uvx"):
        (tmp_path / "bin" / name).symlink_to(BIN / name)
    return copy_clone(tmp_path / "clone")


def run(*command: str, cwd: Path, timeout_sec: float = 60) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env(cwd.parent),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_sec,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_quickstart_of_0_5_1_works_as_it_is_written(clone: Path, tmp_path: Path) -> None:
    port, nats_port, monitoring_port = free_port(), free_port(), free_port()
    url, nats_url = f"http://127.0.0.1:{port}", f"nats://127.0.0.1:{nats_port}"
    run("uv", "sync", cwd=clone, timeout_sec=_INSTALL_SEC)
    assert "passed" in run("uv", "run", "pytest", "-q", "tests/unit/test_light_import.py", cwd=clone)
    (clone / "flow.yaml").write_text(HELLO_FLOW)
    daemons = []

    def start(*command: str) -> Path:
        log = tmp_path / f"{len(daemons)}.log"
        with log.open("wb") as output:
            daemons.append(
                subprocess.Popen(
                    command, cwd=clone, env=env(tmp_path), stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            )
        return log

    try:
        # Beside the lines of the document: ports of our own, since others may use the usual ones.
        ports = ("--nats-client-port", str(nats_port), "--nats-http-port", str(monitoring_port))
        up = ("uv", "run", "pyoco-server", "up", "--with-nats-bootstrap", "--host", "127.0.0.1", "--port", str(port))
        gateway = start(*up, "--dashboard-lang", "auto", *ports)
        eventually(lambda: "the gateway serves at" in gateway.read_text(), what="the gateway", timeout_sec=30)
        worker = start("uv", "run", "pyoco-worker", "--nats-url", nats_url, "--tags", "hello", "--worker-id", "w1")
        eventually(lambda: "the worker serves hello" in worker.read_text(), what="the worker", timeout_sec=30)
        client = ("uv", "run", "pyoco-client", "--server", url)
        flow = ("--workflow-file", "flow.yaml", "--flow-name", "main", "--tag", "hello")
        run_id = run(*client, "submit-yaml", *flow, cwd=clone).split('"run_id": "')[1].split('"')[0]
        lines = run(*client, "watch", run_id, "--until-terminal", "--output", "status", cwd=clone).splitlines()
        assert lines[-1].split("\t")[1:] == ["snapshot", "COMPLETED", run_id]
        assert '"v=2"' in run(*client, "tasks", run_id, cwd=clone)
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        statuses = [daemon.wait(40) for daemon in reversed(daemons)]
    assert statuses == [0, 0]


def find_page(section: str, name: str, bin_dir: Path) -> str:
    """Give the path of a page as ``man`` finds it."""
    command, path = ["man", "--path", section, name], {"PATH": f"{bin_dir}:/usr/bin:/bin"}
    return subprocess.run(command, env=path, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.parametrize("kind", ["clone", "sdist"])
def test_the_four_commands_are_on_the_path_after_an_installation(clone: Path, tmp_path: Path, kind: str) -> None:
    if kind == "sdist":
        run("uv", "build", "--sdist", "--out-dir", str(tmp_path / "dist"), cwd=clone, timeout_sec=_INSTALL_SEC)
        (source,) = map(str, (tmp_path / "dist").glob("*.tar.gz"))
    else:
        source = str(clone)
    run(sys.executable, "-m", "venv", str(tmp_path / "env"), cwd=clone, timeout_sec=_INSTALL_SEC)
    bin_dir = tmp_path / "env" / "bin"
    run(str(bin_dir / "pip"), "install", "--quiet", source, cwd=tmp_path / "env", timeout_sec=_INSTALL_SEC)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    versions = {run(str(bin_dir / name), "--version", cwd=elsewhere).split()[-1] for name in COMMANDS}
    assert len(versions) == 1
    pages = {*(("1", name) for name in COMMANDS), ("5", "pyoco-server"), ("7", "pyoco-flow")}
    assert {path.name for path in (tmp_path / "env/share/man").glob("*/*")} == {f"{name}.{at}" for at, name in pages}
    need("man", "man-db")
    for section, name in pages:
        # Beside a folder of PATH, without a word from the user.
        assert find_page(section, name, bin_dir) == str(tmp_path / f"env/share/man/man{section}/{name}.{section}")
    # Also what is no Python: the templates of the pages lie in a folder of their own.
    page = "import importlib.resources as r; print((r.files('pyoco_server.web') / 'templates/base.html').read_text())"
    assert "<html" in run(str(bin_dir / "python"), "-c", page, cwd=elsewhere)
    assert "COMPLETED" in run(str(bin_dir / "pyoco-server"), "demo", "--exit", cwd=elsewhere)
