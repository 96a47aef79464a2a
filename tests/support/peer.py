"""The published pyoco-server 0.5.1, in an environment of its own: what ours must get on with."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.commands import BIN, Daemon, clean_env

VERSION = "0.5.1"
#: The 0.5.1 worker stands still after some runs on older Pythons; gateway, client and admin command do not.
_PYTHONS = ("3.13", "3.12")
_MARK = "installed"
_ROOT = Path(__file__).parents[2]


class Peer:
    """The commands of the published package.

    :param folder: its environment; kept from one test session to the next.
    """

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        with (folder.parent / "lock").open("w") as lock:
            # Tests run in several processes, and the first that comes installs for all.
            fcntl.flock(lock, fcntl.LOCK_EX)
            mark = folder / _MARK
            if not mark.exists():
                shutil.rmtree(folder, ignore_errors=True)
                _install(folder)
                mark.write_text(VERSION)

    def run(
        self, name: str, *arguments: str, folder: Path, timeout_sec: float = 60, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its commands to its end."""
        return subprocess.run(
            [str(self.bin / name), *arguments],
            cwd=folder,
            env=clean_env(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_sec,
        )

    def start(self, name: str, *arguments: str, folder: Path, **env: str) -> Daemon:
        """Start one of its long-lived commands; whoever does ends it."""
        return Daemon(str(self.bin / name), *arguments, cwd=folder, log=folder / f"peer-{name}.log", **env)


def _install(folder: Path) -> None:
    """Make the environment, with uv where it is there, else with venv and pip."""
    package, python = f"pyoco-server=={VERSION}", str(folder / "bin" / "python")
    # Beside the interpreter of the tests too, which need not be on PATH.
    uv = shutil.which("uv", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        _call(_python(), "-m", "venv", str(folder))
        _call(python, "-m", "pip", "install", "--quiet", package)
    else:
        _call(uv, "venv", "--quiet", "--python", _python(), str(folder))
        _call(uv, "pip", "install", "--quiet", "--python", python, package)


def _python() -> str:
    """Find a newer Python as the commands of the clone do; where there is none, take that of the tests."""
    for version in _PYTHONS:
        script = 'bin=bin; . bin/_environment.sh; find_python "$1"'
        found = subprocess.run(["sh", "-c", script, "sh", version], cwd=_ROOT, capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return sys.executable


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
