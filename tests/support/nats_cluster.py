"""Several nats-servers that are one JetStream, each of which can be killed, suspended and started again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.support.nats import NatsServer, free_port
from tests.support.waiting import eventually

#: An election takes some seconds, and a node that comes back loads its store first.
_WHOLE_SEC = 60.0


class NatsNode(NatsServer):
    """A server that tells of itself over HTTP.

    :param routes: where the nodes of its cluster listen for each other, its own place first; empty = it is alone.
    """

    def __init__(self, folder: Path, *routes: int, sync: str = "always") -> None:
        self.name = folder.name
        self.monitor = f"http://127.0.0.1:{free_port()}"
        conf = f"server_name: {self.name}\nhttp: {self.monitor.removeprefix('http://')}\n"
        if routes:
            places = [f"nats://127.0.0.1:{port}" for port in routes]
            conf += f"cluster {{ name: test, listen: 127.0.0.1:{routes[0]}, routes: {places} }}\n".replace("'", '"')
        super().__init__(folder, conf, sync)

    def is_whole(self) -> bool:
        """Say whether it serves, knows the cluster's leader and has all that its streams and consumers hold."""
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.monitor}/healthz", timeout=2).ok
        return False

    def leads(self, stream: str) -> bool:
        """Say whether it takes itself for the leader of a stream; false when it does not answer."""
        accounts = self._ask("jsz?streams=true").get("account_details", [])
        streams = [found for account in accounts for found in account.get("stream_detail", [])]
        return any(found["name"] == stream and found["cluster"].get("leader") == self.name for found in streams)

    def serves(self, client: str) -> bool:
        """Say whether a client of this name is connected to it; false when it does not answer."""
        return any(found.get("name") == client for found in self._ask("connz").get("connections", []))

    def _ask(self, what: str) -> dict[str, Any]:
        with contextlib.suppress(requests.RequestException):
            told: dict[str, Any] = requests.get(f"{self.monitor}/{what}", timeout=2).json()
            return told
        return {}


class NatsCluster:
    """Nodes that hold the same streams.

    :param size: how many; 1 is a server that is in no cluster.
    """

    def __init__(self, folder: Path, size: int = 3) -> None:
        routes = [free_port() for _ in range(size)] if size > 1 else []
        self.nodes = [NatsNode(folder / f"nats-{number}", *routes[number:], *routes[:number]) for number in range(size)]
        self.url = ",".join(node.url for node in self.nodes)

    def start(self) -> NatsCluster:
        for node in self.nodes:
            node.start()
        self.wait_until_whole()
        return self

    def stop(self) -> None:
        """End all nodes; works twice."""
        for node in self.nodes:
            node.stop()

    def is_whole(self) -> bool:
        """Say whether every node has all that it must hold, so that any one of them can be spared."""
        return all(node.is_whole() for node in self.nodes)

    def wait_until_whole(self) -> None:
        eventually(self.is_whole, what="a NATS of which every node is whole", timeout_sec=_WHOLE_SEC)

    def leader(self, stream: str) -> NatsNode:
        """Wait until a node leads a stream, and give it."""
        return self._node(lambda node: node.leads(stream), f"a leader of {stream}")

    def node_of(self, client: str) -> NatsNode:
        """Wait until a client of this name is connected, and give its node."""
        return self._node(lambda node: node.serves(client), f"the connection of {client}")

    def _node(self, fits: Callable[[NatsNode], bool], what: str) -> NatsNode:
        found = eventually(lambda: next(filter(fits, self.nodes), None), what=what, timeout_sec=_WHOLE_SEC)
        assert found is not None
        return found
