"""A gateway in the test's process, and a second way into its NATS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.gateway import LocalGateway
from tests.support.keys import GuardedGateway, Keys
from tests.support.library import Desk, Notes, desk
from tests.support.nats import NatsServer
from tests.support.parts import Parts


@pytest.fixture
def serve(nats: NatsServer) -> Iterator[Callable[..., LocalGateway]]:
    """Starts gateways on the test's NATS; settings by their variables."""
    started: list[LocalGateway] = []

    def start_one(**env: str) -> LocalGateway:
        started.append(LocalGateway(nats, **env))
        return started[-1]

    yield start_one
    for gateway in started:
        gateway.stop()


@pytest.fixture
def local(serve: Callable[..., LocalGateway]) -> LocalGateway:
    """A gateway that is ready."""
    gateway = serve()
    gateway.wait_until_complete()
    return gateway


@pytest.fixture
def parts(nats: NatsServer) -> Iterator[Parts]:
    """Connection and stores of a program beside the gateway."""
    with Parts(nats.url) as given:
        yield given


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    """A gateway for all tests of a file that leave nothing behind which another would see."""
    server = NatsServer(tmp_path_factory.mktemp("shared") / "nats").start()
    gateway = LocalGateway(server)
    gateway.wait_until_complete()
    yield gateway
    gateway.stop()
    server.stop()


@pytest.fixture(scope="module")
def shared_parts(shared: LocalGateway) -> Iterator[Parts]:
    """Connection and stores of a program beside the shared gateway."""
    with Parts(shared.config.nats_url) as given:
        yield given


@dataclass
class Guarded:
    """A gateway that asks for keys, and what makes them."""

    gateway: GuardedGateway
    keys: Keys
    parts: Parts
    nats: NatsServer

    def known_key(self, tenant: str, **limits: Any) -> str:
        """Make a key that the gateway knows of already."""
        key = self.keys.make(tenant, **limits)
        self.gateway.wait_until_known(key)
        return key


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A gateway that asks for keys, for all tests of a file."""
    server = NatsServer(tmp_path_factory.mktemp("guarded") / "nats").start()
    gateway = GuardedGateway(server)
    with Parts(server.url) as parts:
        yield Guarded(gateway, Keys(parts), parts, server)
    gateway.stop()
    server.stop()


@pytest.fixture(scope="module")
def calm_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS for all tests of a file, which none of them disturbs."""
    server = NatsServer(tmp_path_factory.mktemp("calm") / "nats").start()
    yield server
    server.stop()


@pytest.fixture
def at(calm_nats: NatsServer) -> Iterator[Desk]:
    """A program's view of that NATS, with a tag of its own."""
    with desk(calm_nats.url) as made:
        yield made


@pytest.fixture
def notes() -> Iterator[Notes]:
    """Flows that are closures of this process."""
    made = Notes()
    yield made
    made.may_end.set()
