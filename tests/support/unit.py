"""Looks after one systemd unit on a machine of :mod:`tests.support.machines`, as far as our units go.

It reads the unit's own lines: what it starts, with which environment and in which folder, whether it is told when the
start is over (``Type=notify``), whether it starts it again, how it stops it, and how long it waits for its end.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

from tests.support.machines import FACTS, facts_from
from tests.support.processes import MARK, Family

#: Marks what belongs to a unit, as its control group does.
UNIT = "REHEARSAL_UNIT"
#: systemd's own, where a unit says nothing.
_STOP_SEC = "90"
_LOOK_SEC = 0.05


def note_state(root: Path, unit: str, state: str) -> None:
    """Write down how a unit is; whoever reads it meanwhile reads the one or the other."""
    (root / "run").mkdir(exist_ok=True)
    new = root / "run" / f"{unit}.{os.getpid()}"
    new.write_text(state)
    new.replace(root / "run" / unit)


class Unit:
    """What the file of a unit says."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._facts = facts_from(Path(os.environ[FACTS]))
        self.root = Path(self._facts.root)
        text = self._read(self.root / f"etc/systemd/system/{name}.service").replace("\\\n", " ")
        self._lines = [line.partition("=") for line in text.splitlines() if not line.startswith(("#", ";"))]

    def _read(self, path: Path) -> str:
        return self._facts.put_into(path.read_text())

    def all(self, key: str) -> list[str]:
        return [value.strip() for name, _, value in self._lines if name.strip() == key]

    def last(self, key: str, default: str = "") -> str:
        return (self.all(key) or [default])[-1]

    def seconds(self, key: str, default: str) -> float:
        return float(self.last(key, default).removesuffix("s"))

    @property
    def mark(self) -> str:
        # Other machines have units of the same name.
        return f"{os.environ[MARK]} {self.name}"

    @property
    def env(self) -> dict[str, str]:
        # Neither what a login brings nor what this program was started with.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYOCO_NATS", "PYTHON"))}
        env |= {UNIT: self.mark, "PYOCO_LOAD_DOTENV": "0"}
        for line in self.all("Environment"):
            env |= dict(word.split("=", 1) for word in self._words(line))
        for path in self.all("EnvironmentFile"):
            env |= dict(word.split("=", 1) for word in shlex.split(self._read(Path(path)), comments=True))
        return env

    @property
    def folder(self) -> Path:
        """The working directory; the folders that systemd makes for a unit are made."""
        for name in self.last("StateDirectory").split():
            (self.root / "var/lib" / name).mkdir(parents=True, exist_ok=True)
        return Path(self.last("WorkingDirectory") or self.root)

    def command(self, key: str, env: dict[str, str]) -> list[str]:
        """The words of a line that starts something; a variable that is a word of its own becomes the words in it."""
        found: list[str] = []
        for word in self._words(self.last(key).removeprefix("-")):
            is_variable = word.startswith("$") and not word.startswith("$$")
            found += env.get(word[1:], "").split() if is_variable else [word.replace("$$", "$")]
        return found

    def _words(self, line: str) -> list[str]:
        return [word.replace("%H", self._facts.address).replace("%%", "%") for word in shlex.split(line)]


class Care:
    """Starts a unit's process, again where the unit says so, and stops it with all that it has started."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._is_stopping = False
        self._stop_until = 0.0
        self._pid = unit.root / "run" / f"{unit.name}.pid"

    def run(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_is_stopping", True))
        self._pid.write_text(str(os.getpid()))
        status = self._run_once()
        while self._has_to_start_again(status):
            self._pause(self._unit.seconds("RestartSec", "0.1"))
            status = 0 if self._is_stopping else self._run_once()
        self._pid.unlink()
        note_state(self._unit.root, self._unit.name, "failed" if status and not self._is_stopping else "inactive")

    def _has_to_start_again(self, status: int) -> bool:
        again = self._unit.last("Restart", "no")
        return not self._is_stopping and (again == "always" or (again == "on-failure" and status != 0))

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._is_stopping:
            time.sleep(_LOOK_SEC)

    def _run_once(self) -> int:
        env = self._unit.env
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            # Of no folder: those of tests have too long names.
            name = uuid.uuid4().hex
            notices.bind(f"\0{name}")
            env["NOTIFY_SOCKET"] = f"@{name}"
            with (self._unit.root / "var/log/journal" / self._unit.name).open("ab") as log:
                command = self._unit.command("ExecStart", env)
                process = subprocess.Popen(
                    command, env=env, cwd=self._unit.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            if self._unit.last("Type", "simple") != "notify":
                note_state(self._unit.root, self._unit.name, "active")
            threading.Thread(target=self._listen, args=(notices,), daemon=True).start()
            while process.poll() is None and not self._is_stopping:
                time.sleep(_LOOK_SEC)
            if process.poll() is None:
                self._stop(process, env)
            notices.shutdown(socket.SHUT_RDWR)
        # What the process has left, as systemd does with the control group.
        Family(self._unit.mark, UNIT).end()
        return process.returncode

    def _stop(self, process: subprocess.Popen[bytes], env: dict[str, str]) -> None:
        self._stop_until = time.monotonic() + self._unit.seconds("TimeoutStopSec", _STOP_SEC)
        if self._unit.last("ExecStop"):
            env = {**env, "MAINPID": str(process.pid)}
            subprocess.run(self._unit.command("ExecStop", env), env=env, check=False)
        number = getattr(signal, self._unit.last("KillSignal", "SIGTERM"))
        if self._unit.last("KillMode", "control-group") == "control-group":
            Family(self._unit.mark, UNIT).signal("", number)
        else:
            process.send_signal(number)
        while process.poll() is None and time.monotonic() < self._stop_until:
            time.sleep(_LOOK_SEC)
        process.kill()
        process.wait()

    def _listen(self, notices: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while told := notices.recv(4096):
                for line in told.decode().splitlines():
                    if line == "READY=1":
                        note_state(self._unit.root, self._unit.name, "active")
                    if line.startswith("EXTEND_TIMEOUT_USEC="):
                        more_sec = int(line.partition("=")[2]) / 1e6
                        self._stop_until = max(self._stop_until, time.monotonic() + more_sec)


if __name__ == "__main__":
    Care(Unit(sys.argv[1])).run()
