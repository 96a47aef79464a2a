"""A real nats-server for a test, with a store of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pyoco_server.embedded import answers, find_nats_server
from tests.support import roles
from tests.support.waiting import eventually

#: Below the ports that the kernel gives to connections, and apart for each process that runs tests: nobody else takes
#: one between the look and the use.
_FIRST_PORT = 10_000 + 5_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 20_000
_PORTS = itertools.count(_FIRST_PORT + random.randrange(4_000))


def free_port() -> int:
    """Give a port that nobody uses at the moment."""
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("there is no end of numbers")


class NatsServer:
    """One server that can be stopped, killed and started again on the same port and store.

    :param conf: more lines of its configuration.
    :param sync: when it has the disk write what it has stored.
    """

    def __init__(self, folder: Path, conf: str = "", sync: str = "always") -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._is_permitting = roles.are_wanted() and not conf
        conf = roles.SERVER_CONF if self._is_permitting else conf
        jetstream = f'jetstream {{ store_dir: "{folder}", sync_interval: {sync} }}'
        (folder / "nats.conf").write_text(f"host: 127.0.0.1\nport: {self.port}\n{jetstream}\n{conf}")

    @property
    def pid(self) -> int:
        """Its process's number, while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> NatsServer:
        with (self._folder / "log").open("ab") as log:
            command = [find_nats_server(), "-c", str(self._folder / "nats.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(lambda: answers("127.0.0.1", self.port), what="nats-server answering")
        return self

    def send(self, number: int) -> None:
        """Send it a signal; ``SIGSTOP`` makes it a server that keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            # Until its last thread has stopped it may answer.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def change(self, conf: str) -> None:
        """Add lines to its configuration, and have it read that anew."""
        with (self._folder / "nats.conf").open("a") as known:
            known.write(conf + "\n")
        self.send(signal.SIGHUP)

    def come_back(self) -> None:
        """Start it again, or have it go on when it is suspended."""
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGCONT)
        else:
            self.start()

    def empty(self) -> None:
        """Throw its store away; it must not run."""
        shutil.rmtree(self._folder / "jetstream")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal and wait for its end; works twice."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            # One that was suspended would not hear it.
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(20)
        if self._is_permitting:
            assert not self.violations(), self.violations()

    def violations(self) -> list[str]:
        """Give what the server has refused because the user may not do it."""
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        return [line for line in lines if "Violation" in line]

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep it from answering, with all connections open."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)
