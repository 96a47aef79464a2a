"""The HTTP client, and a server of a few lines that it speaks to."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pyoco_server.client.http import PyocoHttpClient
from tests.support.fake_gateway import FakeGateway, fake_gateway


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with fake_gateway() as fake:
        yield fake


@pytest.fixture
def client(gateway: FakeGateway) -> Iterator[PyocoHttpClient]:
    with PyocoHttpClient(gateway.url, timeout_sec=5) as opened:
        yield opened


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses: bound, so that nobody else takes it, and not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
