"""NATS nodes that ``pyoco-nats`` runs on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import requests

from tests.support.commands import Daemon
from tests.support.nats import free_port
from tests.support.waiting import PATIENCE_SEC, eventually


class NodeProcess:
    """One node in a folder of its own.

    :param start: starts a long-lived command.
    """

    def __init__(self, start: Callable[..., Daemon], folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder / name
        self.port, self.http_port, self.cluster_port = free_port(), free_port(), free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.monitor = f"http://127.0.0.1:{self.http_port}"
        self._start = start

    @property
    def flags(self) -> list[str]:
        ports = {"--client-port": self.port, "--http-port": self.http_port, "--cluster-port": self.cluster_port}
        words = [word for flag, number in ports.items() for word in (flag, str(number))]
        return [*words, "--listen", "127.0.0.1", "--server-name", self.name, "--datafolder", str(self.folder)]

    def up(self, *flags: str, command: str = "up") -> Daemon:
        """Start it; it need not come up."""
        before, _, after = " ".join(flags).partition("-- ")
        extra = ["--", *after.split()] if after else []
        self.daemon = self._start("pyoco-nats", command, *self.flags, *before.split(), *extra)
        return self.daemon

    def join(self, *seeds: NodeProcess) -> Daemon:
        return self.up("--seed", ",".join(f"127.0.0.1:{seed.cluster_port}" for seed in seeds), command="join")

    def is_whole(self) -> bool:
        """Say whether it serves, and has all that it must hold."""
        assert self.daemon.process.poll() is None, self.daemon.log
        try:
            return requests.get(f"{self.monitor}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    def wait_until_whole(self) -> None:
        eventually(self.is_whole, what=f"{self.name} serving", timeout_sec=PATIENCE_SEC)
