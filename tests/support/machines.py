"""Machines of a document, played on this one: each is an address of the loopback, and a folder in place of ``/``.

What stands in a document for a name of a machine or a path is put in; all else is carried out as it stands there. What
a command of ours listens on for its own machine alone, and knows its machine by, is put in, too: here they share both.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.commands import BIN
from tests.support.nats import free_port
from tests.support.processes import MARK, Family
from tests.support.waiting import PATIENCE_SEC, eventually

_REPOSITORY = Path(__file__).parents[2]
#: Tells what systemd is played by which machine it is on.
FACTS = "REHEARSAL_MACHINE"
_PLACES = "opt|etc|var|srv|backup|root"
#: Safe: where it runs there may be other modules of these names.
_PYTHON = f"PYTHONSAFEPATH=1 PYTHONPATH={_REPOSITORY} exec {sys.executable}"
#: What a machine has that ours may not have, or that must not be asked here.
_STAND_INS = {
    "systemctl": f'{_PYTHON} -m tests.support.systemctl "$@"',
    "journalctl": 'cat "$ROOT/var/log/journal/$2"',
    "hostname": 'echo "$ADDRESS"',
    "scp": f'{_PYTHON} -m tests.support.scp "$@"',
    # Everything runs as whoever runs the tests.
    "useradd": "true",
    # What it would bring the test has brought.
    "git": "true",
    "chown": "true",
}


@dataclass(frozen=True)
class Facts:
    """What is put into the text of a document on one machine.

    :param root: the folder in place of ``/``.
    :param addresses: of each machine, by its name.
    :param roots: of each machine, by its address.
    :param http_port: where its NATS node answers for monitoring.
    """

    name: str
    root: str
    addresses: dict[str, str]
    roots: dict[str, str]
    http_port: int

    @property
    def address(self) -> str:
        return self.addresses[self.name]

    def put_into(self, text: str) -> str:
        """Give the text as this machine has to read it."""
        text = re.sub(rf"(?<![\w.$/:@-])(/(?:{_PLACES})(?=[/\s]|$))", rf"{self.root}\1", text, flags=re.MULTILINE)
        for name, address in self.addresses.items():
            text = re.sub(rf"(?<![\w./-]){name}(?![\w-])|(?<=//){name}(?![\w-])", address, text)
        own = f"--unit-dir {self.root}/etc/systemd/system --server-name {self.address} --http-port {self.http_port}"
        text = re.sub(r"(pyoco-nats service install)(?![\w ]*--unit-dir)", rf"\1 {own}", text)
        text = text.replace("127.0.0.1:8222", f"127.0.0.1:{self.http_port}")
        return text.replace("0.0.0.0", self.address)


def facts_from(path: Path) -> Facts:
    """Read what a machine has written down for the programs that play its parts."""
    return Facts(**json.loads(path.read_text()))


class Machine:
    """One machine, with nothing on it at first but what every machine has, and uv."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.root = Path(facts.root)
        self.address = facts.address
        self._family = Family()
        self._make()

    def _make(self) -> None:
        for place in (
            "etc/systemd/system",
            "etc/profile.d",
            "etc/cron.d",
            "var/log/journal",
            "var/lib",
            "var/tmp",
            "root",
            "opt",
            "stand-ins",
        ):
            (self.root / place).mkdir(parents=True, exist_ok=True)
        for name, line in _STAND_INS.items():
            path = self.root / "stand-ins" / name
            path.write_text(f"#!/bin/sh\n{line}\n")
            path.chmod(0o755)
        (self.root / "stand-ins" / "uv").symlink_to(BIN / "uv")
        (self.root / "facts.json").write_text(json.dumps(asdict(self.facts)))

    @property
    def env(self) -> dict[str, str]:
        """The environment of everything that runs there."""
        ours = ("PYOCO_", "PYTHON", "VIRTUAL_ENV", "PYTEST")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **kept,
            "PATH": f"{self.root}/stand-ins:/usr/local/bin:/usr/bin:/bin",
            # The Python of the tests, and not one that uv would fetch.
            "UV_PYTHON": sys.executable,
            "ROOT": str(self.root),
            "ADDRESS": self.address,
            FACTS: f"{self.root}/facts.json",
            MARK: self._family.mark,
        }

    def shell(
        self, text: str, *, cwd: Path | None = None, timeout_sec: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Carry out lines as root does who has logged in; how it ends is for the caller to judge.

        :param text: as the document has it.
        """
        login = f'for file in {self.root}/etc/profile.d/*.sh; do [ ! -e "$file" ] || . "$file"; done\n'
        command = ["bash", "-euo", "pipefail", "-c", login + self.facts.put_into(text)]
        options = {"cwd": cwd or self.root / "root", "env": self.env, "timeout": timeout_sec}
        with (self.root / "shell.stdout").open("w+") as out, (self.root / "shell.stderr").open("w+") as err:
            # Into files: what is started and stays would keep pipes open.
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False, **options)
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, out.read(), err.read())

    def run(self, text: str, *, cwd: Path | None = None, status: int = 0) -> str:
        """Carry out lines that have to end so, and give what they print."""
        done = self.shell(text, cwd=cwd)
        assert done.returncode == status, f"{text}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def lose(self) -> None:
        """Have the machine break: all that runs there is killed at once, and its disk is gone."""
        self.end()
        shutil.rmtree(self.root)

    def replace(self) -> None:
        """Put a new machine in its place, of the same name and address, with nothing on it."""
        self._make()

    def end(self) -> None:
        """Kill all that runs there."""
        # First those who would start the others again.
        self._family.signal("tests.support.unit", signal.SIGKILL)

        def is_quiet() -> bool:
            self._family.end()
            return not self._family.members()

        eventually(is_quiet, what=f"the end of {self.facts.name}", timeout_sec=PATIENCE_SEC)


class Site:
    """The machines of a document, in one folder.

    :param folder: that of the test.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        # A net of its own for each process that runs tests: the ports are those of the document.
        net = f"127.{64 + os.getpid() // 250 % 64}.{1 + os.getpid() % 250}"
        addresses = {name: f"{net}.{11 + place}" for place, name in enumerate(names)}
        roots = {addresses[name]: str(folder / name) for name in names}
        self.machines = {
            name: Machine(Facts(name, roots[addresses[name]], addresses, roots, free_port())) for name in names
        }

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def close(self) -> None:
        for machine in self.machines.values():
            if machine.root.exists():
                machine.end()
