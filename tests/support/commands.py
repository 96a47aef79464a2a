"""The installed commands as a user runs them: as processes, with their output kept."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import requests

from tests.support import roles
from tests.support.processes import MARK, Family
from tests.support.waiting import eventually

#: Where the commands of this environment lie.
BIN = Path(sys.executable).parent


def clean_env(**extra: str) -> dict[str, str]:
    """Give the environment without what changes our programs, so that a developer's own settings do not."""
    ours = ("PYOCO_", "PYTHONUNBUFFERED")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env["PATH"] = f"{BIN}{os.pathsep}{env['PATH']}"
    env["PYOCO_LOAD_DOTENV"] = "0"
    return {**env, **extra}


def run(*command: str, cwd: Path, timeout_sec: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one of our commands to its end."""
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=cwd,
        env=clean_env(**{**roles.wanted(roles.ROLE_OF.get(command[0]), env, command[1:]), **env}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_sec,
    )


def reason(stderr: str) -> str:
    """Give the one line that says why a command could not; below it stands how it is done."""
    first, *hints = stderr.splitlines()
    assert [hint.partition(":")[0] for hint in hints] == ["  example", "  help"], stderr
    return first


def check_understood(program: str, *words: str, cwd: Path) -> None:
    """See that a command knows all words but one that there cannot be, so that nothing is carried out."""
    done = run(program, *words, "--no-such-flag", cwd=cwd)
    assert "unrecognized arguments: --no-such-flag" in done.stderr, done.stderr


class Daemon:
    """One of our long-lived commands.

    :param log: file that takes its stdout and stderr.
    """

    def __init__(self, *command: str, cwd: Path, log: Path, **env: str) -> None:
        self.log_path = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                cwd=cwd,
                env=clean_env(**{**roles.wanted(roles.ROLE_OF.get(command[0]), env, command[1:]), **env}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, pattern: str, *, timeout_sec: float = 20.0) -> re.Match[str]:
        """Wait until its output matches, and give the last match."""

        def look() -> re.Match[str] | None:
            found = list(re.finditer(pattern, self.log))
            if not found and self.process.poll() is not None:
                raise AssertionError(
                    f"the command ended with {self.process.returncode} before {pattern!r}:\n{self.log}"
                )
            return found[-1] if found else None

        return eventually(look, what=f"{pattern!r} in {self.log_path}", timeout_sec=timeout_sec)

    def stop(self, number: int = signal.SIGTERM, *, timeout_sec: float = 30.0) -> int:
        """Send a signal, wait for the end and give the exit status; works twice."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_sec)

    def kill(self) -> None:
        """kill -9, this process alone: its children must notice by themselves."""
        self.stop(signal.SIGKILL)


def is_serving(url: str, daemon: Daemon) -> bool:
    """Say whether a gateway answers; it must not have ended."""
    assert daemon.process.poll() is None, daemon.log
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{url}/health", timeout=5).ok
    return False


def is_ready(url: str) -> bool:
    """Say whether a gateway is there and ready."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/ready", timeout=5).status_code == 200
    return False


class Daemons:
    """Long-lived commands that are started in one folder, and of which none is left in the end.

    :param env: settings of all of them, by their variables.
    """

    def __init__(self, folder: Path, **env: str) -> None:
        self._folder = folder
        self.family = Family()
        self._env = {MARK: self.family.mark, **env}
        self._started: list[Daemon] = []

    def start(self, *command: str, **env: str) -> Daemon:
        """Start one; it need not come up."""
        log = self._folder / f"{Path(command[0]).name}-{len(self._started)}.log"
        self._started.append(Daemon(*command, cwd=self._folder, log=log, **{**self._env, **env}))
        return self._started[-1]

    def said(self) -> str:
        """Give what each of them has printed, and its exit status if it has ended."""
        return "\n".join(f"{each.log_path.name} ({each.process.poll()}):\n{each.log}" for each in self._started)

    def close(self) -> None:
        """Kill those that are there, the last one first, and what they leave.

        The sentinel of a worker that was killed would look for NATS for two minutes.
        """
        for daemon in reversed(self._started):
            daemon.kill()
        self.family.end()
