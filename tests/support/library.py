"""A program of the tests' own that uses the Python API on NATS."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from pyoco import Flow, task

from pyoco_server import NatsBackendConfig, PyocoNatsClient
from pyoco_server.contract import names
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.stores.workers import WorkerStore
from tests.support.parts import Parts
from tests.support.waiting import PATIENCE_SEC


class Desk:
    """One test's view of a NATS that several tests share: a tag, a client and the stores."""

    def __init__(self, nats_url: str, parts: Parts, client: PyocoNatsClient) -> None:
        self.tag = uuid4().hex[:8]
        self.config = NatsBackendConfig.from_env({}, nats_url=nats_url, default_tag=self.tag)
        self.parts = parts
        self._client = client

    def submit(self, flow_name: str, x: Any = None, *, tag: str | None = None) -> str:
        return self._client.submit_run(flow_name, {} if x is None else {"x": x}, tag=tag or self.tag)

    def run(self, run_id: str) -> dict[str, object]:
        return self._client.get_run(run_id)

    def record(self, worker_id: str) -> WorkerRecord:
        found = WorkerStore(self.parts.bus, self.config).get(worker_id)
        assert found is not None
        return found

    def consumer(self) -> dict[str, Any]:
        """Give what NATS tells of the consumer of this tag."""
        return self.parts.bus.api(f"CONSUMER.INFO.{names.WORK_STREAM}.{names.durable(self.tag)}")


@contextmanager
def desk(nats_url: str) -> Iterator[Desk]:
    """Connect."""
    config = NatsBackendConfig.from_env({}, nats_url=nats_url)
    with Parts(nats_url) as parts, PyocoNatsClient.connect(config) as client:
        yield Desk(nats_url, parts, client)


class Notes:
    """What runs did in this process, and what they wait for. Its flows are closures, which no other process has."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def resolve(self, name: str) -> Flow:
        """Give flow ``f``, which notes its parameter, ``held``, which waits until it may end, or both."""

        @task
        def note(x: int) -> int:
            self.seen.append((os.getpid(), x))
            if x < 0:
                raise ValueError("negative")
            return x + 1

        @task
        def hold() -> None:
            self.begun.set()
            self.may_end.wait(PATIENCE_SEC)

        flows: dict[str, Callable[[], Flow]] = {
            "f": lambda: Flow(name="f") >> note,
            "held": lambda: Flow(name="held") >> hold,
            "held, then noted": lambda: Flow(name="held, then noted") >> hold >> note,
        }
        return flows[name]()
