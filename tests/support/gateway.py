"""A gateway inside the test's own process, and requests to it."""

from __future__ import annotations

import socket
from typing import Any

import requests

from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.gateway.serve import GatewayServer, listen
from pyoco_server.readmodel.reports import Reports
from pyoco_server.service import Deadline, Service
from tests.support import roles
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

#: Longer than any answer may take (contract 3: never a hang).
REQUEST_TIMEOUT_SEC = 10.0


class LocalGateway:
    """A gateway on threads of this process.

    :param env: its settings, by their variables.
    """

    def __init__(self, nats: NatsServer, **env: str) -> None:
        self.config = Config.from_env(
            {"PYOCO_NATS_URL": nats.url, "PYOCO_MAX_WATCHES": "64", **roles.wanted(names.GATEWAY_ROLE, env), **env}
        )
        self.failures: list[Service] = []
        listener = listen("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = GatewayServer(self.config, listener, self.failures.append)
        self.session = requests.Session()
        self.server.start()

    @property
    def parts(self) -> Any:
        """What its routes work with."""
        return self.server.parts

    @property
    def reports(self) -> Reports:
        """What its pages ask the read model."""
        return Reports(self.parts.model, None)

    @property
    def free_places(self) -> int:
        """How many more watches and waiting requests it takes."""
        return int(self.parts.watch_places._value)

    @property
    def http_server(self) -> Any:
        """Its WSGI server, with the connections of clients."""
        return self.server._services[0]._server

    @property
    def busy_threads(self) -> int:
        """How many of its threads for requests are at work."""
        return int(self.http_server.task_dispatcher.active_count)

    def channel_of(self, client: socket.socket) -> Any:
        """Give its end of a client's connection; ``None`` where it has none yet."""
        channels = list(self.http_server.active_channels.values())
        return next((channel for channel in channels if channel.addr == client.getsockname()), None)

    def stop(self) -> None:
        self.session.close()
        self.server.stop(Deadline(10))
        assert not self.failures, f"{self.failures[0].name} died: {self.failures[0].failure}"

    def ask(
        self, method: str, path: str, *, timeout_sec: float = REQUEST_TIMEOUT_SEC, **options: Any
    ) -> requests.Response:
        return self.session.request(method, self.url + path, timeout=timeout_sec, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.ask("GET", path, **options)

    def submit(self, flow_name: str = "main", **fields: Any) -> str:
        """Submit a run by flow name and give its id."""
        answer = self.ask("POST", "/runs", json={"flow_name": flow_name, **fields})
        assert answer.status_code == 200, answer.text
        run_id: str = answer.json()["run_id"]
        return run_id

    def wait_until_complete(self) -> None:
        """Wait until lists are answered."""
        eventually(lambda: self.get("/ready").status_code == 200, what="the gateway being ready")

    def wait_until_applied(self, revision: int) -> None:
        """Wait until lists show what somebody else stored as this revision."""
        assert self.parts.model.wait_for(revision, 10), f"revision {revision} is not in the list"

    def knows(self, run_id: str, status: str) -> bool:
        """Say whether what lists and watches show of a run has come so far."""
        known = self.parts.model.run(run_id)
        return known is not None and bool(known.status == status)

    def raw(self, data: bytes, *, timeout_sec: float = REQUEST_TIMEOUT_SEC) -> bytes:
        """Send bytes over a connection of their own and give all that comes until the gateway closes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_sec) as connection:
            connection.sendall(data)
            received = b""
            while more := connection.recv(65536):
                received += more
            return received


def problem(answer: requests.Response, status: int) -> dict[str, Any]:
    """Check that an answer is a problem document of this status, and give it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["title"] and document["detail"] and document["type"] and document["instance"]
    return document


def fault_places(answer: requests.Response, err_id: str) -> list[str]:
    """Check that an answer is a refusal of the input with this id, and give the places of the faults."""
    document = problem(answer, 422)
    assert document["err_id"] == err_id
    assert all(fault["msg"] for fault in document["errors"])
    return [fault["loc"] for fault in document["errors"]]
