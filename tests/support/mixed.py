"""Gateways and workers of ours and of the published 0.5.1, side by side on one NATS."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import requests
import yaml

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.errors import KeyMissing, ResourceMissing
from pyoco_server.service import Deadline
from pyoco_server.states import TERMINAL
from tests.support.commands import Daemon, Daemons, is_serving
from tests.support.fleet import SAMPLES
from tests.support.nats import NatsServer, free_port
from tests.support.peer import Peer
from tests.support.waiting import PATIENCE_SEC, eventually

#: Whose program: this package's, or the published one.
OURS, THEIRS = "ours", "theirs"
TAG = "hello"
#: Knows flow ``main``, the sample, by its name.
RESOLVER = Path(__file__).parents[2] / "examples" / "hello_flow.py"
_TASKS = {
    "add_one": {"callable": "pyoco_server._workflow_test_tasks:add_one"},
    "to_text": {"callable": "pyoco_server._workflow_test_tasks:to_text"},
    "quick": {"callable": "sample_tasks:quick"},
}


def sample(x: int, graph: str = "add_one >> to_text") -> str:
    """Write the sample as a flow.yaml; its result is the text ``v=<x + 1>``."""
    tasks = {name: task for name, task in _TASKS.items() if name in graph}
    return yaml.safe_dump({"version": 1, "flow": {"graph": graph, "defaults": {"x": x}}, "tasks": tasks})


class MixedFleet:
    """Starts the programs in one folder, and looks at what they leave in NATS.

    It creates nothing there itself: who comes first does.
    """

    def __init__(self, folder: Path, peer: Peer) -> None:
        self.folder = folder
        self.peer = peer
        (folder / SAMPLES.name).write_text(SAMPLES.read_text())
        self.nats = NatsServer(folder / "nats").start()
        self._daemons = Daemons(folder)
        self._bus = Bus(self.nats.url, name="test", budget_sec=10.0, waits_when_down=True)
        self._bus.connect(10)

    def close(self) -> None:
        self._daemons.close()
        self._bus.close(Deadline(5))
        self.nats.stop()

    # -- programs -----------------------------------------------------------------------------------------------

    def gateway(self, whose: str, **env: str) -> str:
        """Start a gateway; gives its address when it serves."""
        port = free_port()
        daemon = self._start(whose, "pyoco-server", "up", "--port", str(port), **env)
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: is_serving(url, daemon), what=f"{whose}: the gateway")
        return url

    def worker(self, whose: str, *flags: str, worker_id: str | None = None, **env: str) -> Daemon:
        """Start a worker of :data:`TAG`, by default with the id ``ours`` or ``theirs``; gives it when it serves."""
        worker_id = worker_id or whose
        identity = ("--tags", TAG, "--worker-id", worker_id)
        daemon = self._start(
            whose, "pyoco-worker", *identity, "--flow-resolver", f"{RESOLVER}:resolve_flow", *flags, **env
        )
        eventually(lambda: self.record("pyoco_workers", worker_id), what=f"{whose}: the worker")
        return daemon

    def _start(self, whose: str, name: str, *arguments: str, **env: str) -> Daemon:
        command = name if whose == OURS else str(self.peer.bin / name)
        # An operator of 0.5.1 says where the tasks are; our workers look into their folder by themselves.
        env = {"PYTHONPATH": str(self.folder), **env} if whose == THEIRS else env
        return self._daemons.start(command, *arguments, "--nats-url", self.nats.url, **env)

    # -- runs ---------------------------------------------------------------------------------------------------

    def submit(self, gateway: str, params: dict[str, Any] | None = None, *, workflow: str | None = None) -> str:
        """Submit a flow.yaml, or flow ``main`` by its name; gives the run id."""
        fields: dict[str, Any] = {"flow_name": "main", "tag": TAG}
        if workflow is not None:
            files = {"workflow": ("flow.yaml", workflow)}
            answer = requests.post(f"{gateway}/runs/yaml", data=fields, files=files, timeout=10)
        else:
            answer = requests.post(f"{gateway}/runs", json={**fields, "params": params or {}}, timeout=10)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["run_id"])

    def cancel(self, gateway: str, run_id: str) -> dict[str, Any]:
        """Ask for the end of a run; gives the answer."""
        answer = requests.post(f"{gateway}/runs/{run_id}/cancel", timeout=10)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def run(self, run_id: str) -> dict[str, Any]:
        """Give the snapshot as it is stored."""
        found = self.record("pyoco_runs", run_id)
        assert found is not None, f"run {run_id} is gone"
        return found

    def running(self, run_id: str) -> dict[str, Any]:
        """Wait until somebody executes the run; give its snapshot."""
        try:
            # Longer than a lease: a job that a worker of 0.5.1 has asked for and given up comes again after that.
            eventually(
                lambda: "RUNNING" in self.run(run_id)["tasks"].values(),
                what=f"the beginning of {run_id}",
                timeout_sec=PATIENCE_SEC,
            )
        except AssertionError as exc:
            queue = self._bus.api(f"CONSUMER.INFO.{names.WORK_STREAM}.{names.durable(TAG)}")
            raise AssertionError(f"{exc}\n{self.run(run_id)}\n{queue}\n{self._daemons.said()}") from exc
        return self.run(run_id)

    def ended(self, run_id: str, *, timeout_sec: float = 60.0) -> dict[str, Any]:
        """Wait until the run is over; give its snapshot."""
        eventually(lambda: self.run(run_id)["status"] in TERMINAL, what=f"the end of {run_id}", timeout_sec=timeout_sec)
        return self.run(run_id)

    def record(self, bucket: str, key: str) -> dict[str, Any] | None:
        """Give a value of a bucket; ``None`` when there is none, or no such bucket."""
        try:
            stored = self._bus.last(names.bucket_stream(bucket), names.key_subject(bucket, key))
        except (KeyMissing, ResourceMissing):
            return None
        document: dict[str, Any] = json.loads(stored.payload)
        return document

    def overwrite(self, run_id: str, document: dict[str, Any]) -> None:
        """Store a snapshot whatever was there, as a worker of 0.5.1 does."""
        self._bus.write(Write(names.key_subject("pyoco_runs", run_id), json.dumps(document).encode()))

    # -- what is left -------------------------------------------------------------------------------------------

    def stream(self, name: str) -> dict[str, Any]:
        return self._bus.api(f"STREAM.INFO.{name}")

    def set_ack_wait(self, ack_wait_sec: float) -> None:
        """Change how long a lease lasts, as an operator would: a worker of 0.5.1 has set it to its own wish."""
        config = {**self.consumer()["config"], "ack_wait": int(ack_wait_sec * 1e9)}
        body = {"stream_name": "PYOCO_WORK", "config": config, "action": "update"}
        self._bus.api(f"CONSUMER.CREATE.PYOCO_WORK.{names.durable(TAG)}.pyoco.work.{TAG}", body)

    def consumer(self) -> dict[str, Any]:
        return self._bus.api(f"CONSUMER.INFO.PYOCO_WORK.{names.durable(TAG)}")

    def left_over(self) -> dict[str, int]:
        """Count what completed runs must not leave behind: all zero."""
        consumer = self.consumer()
        return {
            "jobs": self.stream("PYOCO_WORK")["state"]["messages"],
            "jobs nobody was given": consumer["num_pending"],
            "jobs nobody acknowledged": consumer["num_ack_pending"],
            "dead letters": self.stream("PYOCO_DLQ")["state"]["messages"],
        }

    def assert_nothing_is_left(self) -> None:
        # A worker writes the end of a run before it acknowledges the job.
        eventually(lambda: not any(self.left_over().values()), what="the empty queue")

    def assert_completed(
        self, results: Iterable[tuple[str, str]], *, timeout_sec: float = 60.0
    ) -> list[dict[str, Any]]:
        """Wait for runs of the sample; gives their snapshots.

        :param results: run id and expected output of ``to_text``.
        """
        snapshots = []
        for run_id, text in results:
            snapshot = self.ended(run_id, timeout_sec=timeout_sec)
            assert (snapshot["status"], snapshot["error"]) == ("COMPLETED", None), snapshot
            assert set(snapshot["tasks"].values()) == {"SUCCEEDED"}, snapshot
            assert snapshot["task_records"]["to_text"]["output"] == text, snapshot
            snapshots.append(snapshot)
        return snapshots
