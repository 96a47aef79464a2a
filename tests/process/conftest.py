"""What the tests of the long-lived commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import Daemon
from tests.support.crew import Crew
from tests.support.fleet import TAG, Fleet
from tests.support.mixed import MixedFleet
from tests.support.nats import NatsServer, free_port
from tests.support.peer import Peer
from tests.support.plant import Plant
from tests.support.processes import MARK, Family
from tests.support.shop import Shop
from tests.support.wheels import Registry


@pytest.fixture
def family() -> Iterator[Family]:
    """The processes that :func:`up` starts; none is left after the test."""
    found = Family()
    yield found
    found.end()


class Up:
    """Starts ``pyoco-server up`` (or ``demo``) in the test's folder, with ports of its own."""

    def __init__(self, start: Callable[..., Daemon], family: Family) -> None:
        self._start = start
        self._family = family
        self.port = free_port()
        self.nats_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.nats_url = f"nats://127.0.0.1:{self.nats_port}"

    def begin(self, *flags: str, **env: str) -> Daemon:
        """Start it; it need not come up."""
        ports = ("--port", str(self.port))
        if "--nats-url" not in flags:
            ports += ("--nats-client-port", str(self.nats_port))
        return self._start("pyoco-server", *flags, *ports, **{MARK: self._family.mark, **env})

    def serve(self, *flags: str, **env: str) -> Daemon:
        """Start it and wait until it serves."""
        daemon = self.begin(*flags, **env)
        daemon.wait_for_log("the gateway serves at")
        return daemon


@pytest.fixture
def up(start: Callable[..., Daemon], family: Family) -> Up:
    """Starts gateways with an embedded NATS server."""
    return Up(start, family)


@pytest.fixture
def fleet(nats: NatsServer, tmp_path: Path) -> Iterator[Fleet]:
    """The test's NATS, and the folder in which its workers are started."""
    found = Fleet(nats.url, tmp_path)
    yield found
    found.close()


@pytest.fixture
def crew(fleet: Fleet, nats: NatsServer) -> Iterator[Crew]:
    """Workers on the test's own NATS."""
    found = Crew(fleet, nats.url)
    yield found
    found.dismiss()


@dataclass
class Town:
    """A NATS that all tests of a file share."""

    fleet: Fleet
    nats: NatsServer


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A NATS which no test of the file disturbs."""
    folder = tmp_path_factory.mktemp("town")
    nats = NatsServer(folder / "nats").start()
    found = Fleet(nats.url, folder)
    yield Town(found, nats)
    found.close()
    nats.stop()


@pytest.fixture
def town_crew(town: Town) -> Iterator[Crew]:
    """Workers on the NATS that the file's tests share."""
    found = Crew(town.fleet, town.nats.url)
    yield found
    found.dismiss()


@pytest.fixture
def shop(town: Town, town_crew: Crew) -> Iterator[Shop]:
    """Workers with wheel sync, and a registry that is empty, on the NATS that the file's tests share."""
    registry = Registry(town.fleet.bus)
    yield Shop(town_crew, registry)
    registry.clear()


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A gateway and what else a file's tests start on one NATS."""
    found = Plant(tmp_path_factory.mktemp("plant"))
    yield found
    found.close()


@pytest.fixture
def mixed(tmp_path: Path, peer: Peer) -> Iterator[MixedFleet]:
    """A NATS of its own for programs of ours and of 0.5.1."""
    found = MixedFleet(tmp_path, peer)
    yield found
    found.close()


@dataclass
class Workshop:
    """A fleet with one worker, which all tests of a file share: for what must not disturb a worker."""

    fleet: Fleet
    worker: Daemon


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A running worker; it must still serve after the last test of the file."""
    folder = tmp_path_factory.mktemp("workshop")
    nats = NatsServer(folder / "nats").start()
    found = Fleet(nats.url, folder)
    worker = Daemon(
        "pyoco-worker", "--nats-url", nats.url, "--tags", TAG, "--worker-id", "w1", cwd=folder, log=folder / "log"
    )
    worker.wait_for_log("the worker serves")
    yield Workshop(found, worker)
    try:
        assert worker.stop() == 0, worker.log
    finally:
        worker.kill()
        found.close()
        nats.stop()
