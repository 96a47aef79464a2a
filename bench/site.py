"""What a measurement needs: a NATS, gateways and workers of each side, in a folder that is gone afterwards."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.figures import OURS, PEER, RAW, SYNCED, Book
from pyoco_server.ports import answers
from tests.support.commands import Daemon, Daemons, is_serving, run
from tests.support.nats import NatsServer, free_port
from tests.support.peer import Peer
from tests.support.processes import busy_sec
from tests.support.waiting import PATIENCE_SEC, eventually

_ROOT = Path(__file__).parents[1]


class Station:
    """One side: its own NATS, and the processes that use it.

    :param env: settings of all its processes, by their variables.
    """

    def __init__(self, side: str, folder: Path, peer: Peer | None, **env: str) -> None:
        folder.mkdir()
        self.side = side
        self._peer = peer
        sync = "always" if side == SYNCED else "2m"
        self.nats = NatsServer(folder / "nats", sync=sync)
        self.folder = folder
        self._daemons = Daemons(folder, **env)
        shutil.copy(Path(__file__).parent / "tasks.py", folder / "bench_tasks.py")
        #: Of the gateway; set by :meth:`start_gateway`.
        self.url = ""
        self.gateway: Daemon | None = None

    def start_gateway(self) -> None:
        """Start NATS, where it is needed, and the gateway; returns when it serves."""
        port = str(free_port())
        self.url = f"http://127.0.0.1:{port}"
        if self.side == RAW:
            self.gateway = self._daemons.start(sys.executable, "-m", "bench.bare_http", port, PYTHONPATH=str(_ROOT))
        else:
            if not answers("127.0.0.1", self.nats.port):
                self.nats.start()
            self.gateway = self._daemons.start(
                self._command("pyoco-server"), "up", "--port", port, "--nats-url", self.nats.url
            )
        gateway = self.gateway
        eventually(lambda: is_serving(self.url, gateway), what=f"{self.side}: gateway", timeout_sec=PATIENCE_SEC)

    def start_worker(self, *flags: str, **env: str) -> Daemon:
        """Start a worker, beside the tasks of the measurements; returns at once."""
        # An operator of 0.5.1 says where the tasks are; our workers look into their folder by themselves.
        env = {"PYTHONPATH": str(self.folder), **env} if self.side == PEER else env
        return self._daemons.start(self._command("pyoco-worker"), "--nats-url", self.nats.url, *flags, **env)

    def start_idle_worker(self, worker_id: str, tags: str, *flags: str, **env: str) -> Daemon:
        """Start a worker; returns when it has said that it serves."""
        worker = self.start_worker("--worker-id", worker_id, "--tags", tags, *flags, **env)
        eventually(lambda: worker_id in self._worker_ids(), what=f"{self.side}: worker", timeout_sec=PATIENCE_SEC)
        return worker

    def _worker_ids(self) -> list[str]:
        answer = requests.get(f"{self.url}/workers", timeout=10)
        # A gateway that has just started asks to come again.
        return [record["worker_id"] for record in answer.json()] if answer.ok else []

    def run(self, *command: str) -> str:
        """Run a command of ours to its end; gives what it prints."""
        done = run(*command, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def gateway_cpu_sec(self) -> float:
        """Give the processor time that the gateway has used."""
        assert self.gateway is not None
        return busy_sec(self.gateway.process.pid)

    def close(self) -> None:
        self._daemons.close()
        self.nats.stop()

    def _command(self, name: str) -> str:
        if self.side != PEER:
            return name
        assert self._peer is not None, "without the peer there is no station of its own"
        return str(self._peer.bin / name)


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    :param rounds: how often each side is measured, in turn.
    :param seconds: how long a load lasts.
    :param peer: the published package; ``None`` leaves it out.
    """

    book: Book
    rounds: int
    seconds: float
    is_quick: bool
    peer: Peer | None

    @contextlib.contextmanager
    def stations(self, sides: Sequence[str] = (OURS, PEER), **env: str) -> Iterator[list[Station]]:
        """Give a station for each of these sides that is to be measured; nothing runs there yet."""
        with tempfile.TemporaryDirectory(prefix="pyoco-bench-") as folder, contextlib.ExitStack() as stack:
            stations = []
            for number, side in enumerate(side for side in sides if side != PEER or self.peer is not None):
                stations.append(Station(side, Path(folder) / str(number), self.peer, **env))
                stack.callback(stations[-1].close)
            yield stations
