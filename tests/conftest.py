"""What tests share: a real NATS server, the installed commands as processes, a client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyoco_server.client.http import PyocoHttpClient
from tests.support.commands import Daemon, Daemons
from tests.support.nats import NatsServer, free_port
from tests.support.peer import VERSION, Peer

#: The sample of the documents: two tasks in a row.
HELLO_FLOW = """\
version: 1
flow:
  graph: |
    add_one >> to_text
  defaults:
    x: 1
tasks:
  add_one:
    callable: pyoco_server._workflow_test_tasks:add_one
  to_text:
    callable: pyoco_server._workflow_test_tasks:to_text
"""
#: Files that take a minute, or have a test of more than twenty seconds; those that take longest first.
LONGEST = (
    "integration/test_fuzz.py",
    "process/test_service_manager.py",
    "docs/test_rehearsal_cluster.py",
    "process/test_nats_lost.py",
    "process/test_cluster.py",
    "chaos/test_storm.py",
    "process/test_bench.py",
    "process/test_install.py",
    "process/test_nats_frozen.py",
    "process/test_mixed_fleet.py",
    "integration/pages/test_in_browser.py",
    "docs/test_rehearsal_upgrade.py",
    "process/test_cluster_rounds.py",
    "process/test_doctor_cluster.py",
    "process/test_nats_nodes.py",
    "process/test_permissions.py",
    "integration/pages/test_large.py",
    "integration/pages/test_walk.py",
    "process/test_artifact_trouble.py",
    "process/test_rolling_restart.py",
    "docs/test_rehearsal_failure.py",
    "process/test_run_logs.py",
    "docs/test_tutorial.py",
)
_TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, then those of long tests and of many, so that none is left alone at the end."""
    place = {_TESTS / name: number for number, name in enumerate(LONGEST)}
    long = {item.path for item in items if item.get_closest_marker("long")}
    counts = Counter(item.path for item in items)

    def key(item: pytest.Item) -> tuple[int, bool, int, Path]:
        return place.get(item.path, len(place)), item.path not in long, -counts[item.path], item.path

    items.sort(key=key)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A running nats-server with an empty store."""
    server = NatsServer(tmp_path / "nats").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def peer(pytestconfig: pytest.Config) -> Peer:
    """The commands of the published 0.5.1, installed once."""
    cache = pytestconfig.cache
    assert cache is not None
    return Peer(cache.mkdir("peer") / VERSION)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts long-lived commands in the test's folder, and ends them after the test."""
    daemons = Daemons(tmp_path)
    yield daemons.start
    daemons.close()


class Gateway:
    """A gateway process and its address, which stays the same over restarts."""

    def __init__(self, start: Callable[..., Daemon], nats: NatsServer, **env: str) -> None:
        self._start = start
        self._nats = nats
        self._env = env
        # The kernel gives it to nobody while the gateway is down.
        self._port = free_port()
        self.restart()

    def restart(self) -> None:
        """Start it (again) at the same address."""
        self.daemon = self._start(
            "pyoco-server", "up", "--port", str(self._port), "--nats-url", self._nats.url, **self._env
        )
        self.url = self.daemon.wait_for_log(r"serves at (http://[\d.:]+)")[1]


@pytest.fixture
def gateway(start: Callable[..., Daemon], nats: NatsServer) -> Gateway:
    """A running gateway on the test's NATS."""
    return Gateway(start, nats)


@pytest.fixture
def client(gateway: Gateway) -> Iterator[PyocoHttpClient]:
    """Our client for the test's gateway."""
    with PyocoHttpClient(gateway.url) as http:
        yield http


@pytest.fixture
def start_worker(start: Callable[..., Daemon], nats: NatsServer) -> Callable[..., Daemon]:
    """Starts workers on the test's NATS; returns when one serves."""

    def start_one(*flags: str, **env: str) -> Daemon:
        daemon = start("pyoco-worker", "--nats-url", nats.url, *flags, **env)
        daemon.wait_for_log("the worker serves")
        return daemon

    return start_one
