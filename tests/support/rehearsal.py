"""Somebody who carries out docs/operations.md on three machines."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import requests

from tests.support.clones import copy_clone
from tests.support.commands import is_ready
from tests.support.handbook import Handbook
from tests.support.load import Load
from tests.support.machines import Machine, Site
from tests.support.waiting import PATIENCE_SEC, eventually


class Rehearsal:
    """Machines n1, n2 and n3, the document, and a load on them.

    :param folder: that of the test.
    """

    def __init__(self, folder: Path) -> None:
        self._site = Site(folder, "n1", "n2", "n3")
        self.clone = copy_clone(folder / "clone")
        self.handbook = Handbook(self._site, self.clone, office="n1")
        self.play = self.handbook.play
        self.gateways = [f"http://{self[name].address}:8000" for name in ("n1", "n2")]
        self.load = Load(self.gateways, folder / "ledger")

    def __getitem__(self, name: str) -> Machine:
        return self._site[name]

    @property
    def machines(self) -> list[Machine]:
        return list(self._site.machines.values())

    def install(self) -> None:
        """Carry out the first section, and see that it says the truth."""
        self.play("## Install")
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        eventually(
            lambda: all(map(is_ready, self.gateways)), what="both gateways being ready", timeout_sec=PATIENCE_SEC
        )

    def fire(self, machine: str, file: str, number: int = 0) -> subprocess.CompletedProcess[str]:
        """Do what cron does: carry out a line of a file, with the variables that stand above it and no others."""
        lines = (self[machine].root / "etc/cron.d" / file).read_text().splitlines()
        env = dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
        line = [line for line in lines if not re.match(r"\w+=", line)][number]
        return subprocess.run(
            ["/bin/sh", "-c", line.split(None, 6)[6].replace("\\%", "%")],
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def page(self, path: str) -> str:
        """Give a page as the first gateway shows it."""
        answer = requests.get(self.gateways[0] + path, headers={"Accept-Language": "en"}, timeout=15)
        assert answer.ok, answer.text
        return answer.text

    def close(self) -> None:
        try:
            self.load.end()
        finally:
            self._site.close()
