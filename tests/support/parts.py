"""What lies under a gateway, without one: for looking into NATS and for changing runs as a worker would."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import TracebackType
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Stored, Write
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import KeyMissing
from pyoco_server.operations.submit import Submission
from pyoco_server.operations.sweep import Sweep
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus
from pyoco_server.stores.deadletters import DeadLetterStore
from pyoco_server.stores.idempotency import IdempotencyStore
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore
from pyoco_server.stores.workflows import WorkflowStore
from tests.support.waiting import PATIENCE_SEC, eventually


class Parts:
    """A connection with stores, operations and a read model on it."""

    def __init__(self, nats_url: str, **env: str) -> None:
        self.config = Config.from_env({"PYOCO_NATS_URL": nats_url, **env})
        self.bus = Bus(nats_url, name="test", budget_sec=4.0, waits_when_down=False)
        self.runs = RunStore(self.bus, self.config)
        self.queue = Queue(self.bus, self.config)
        self.workflows = WorkflowStore(self.bus)
        self.dead_letters = DeadLetterStore(self.bus, self.config)
        self._model: ReadModel | None = None

    def __enter__(self) -> Parts:
        self.bus.connect(5)
        # A cluster that calls itself whole may still elect leaders; once a stream has answered, it has one.
        ensure_resources(self.bus, self.config, budget_sec=PATIENCE_SEC)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._model is not None:
            self._model.stop(Deadline(5))
        self.bus.close(Deadline(5))

    @property
    def model(self) -> ReadModel:
        """A read model that is complete."""
        if self._model is None:
            self._model = ReadModel(self.bus, self.config)
            self._model.start()
        eventually(lambda: self._model is not None and self._model.is_complete, what="the read model being complete")
        return self._model

    def submission(self, bus: Bus | None = None) -> Submission:
        """Make the operation that a gateway submits with, over this connection or another."""
        return Submission(
            bus or self.bus,
            self.runs,
            self.queue,
            self.workflows,
            IdempotencyStore(bus or self.bus),
            origin="test",
            published=lambda run_id: None,
            withdrawn=lambda run_id, revision: None,
        )

    def sweep(self, min_age_sec: float = 0.0) -> Sweep:
        sweep = Sweep(self.model, self.runs, self.queue, self.workflows, self.dead_letters, min_age_sec=min_age_sec)
        self.bus.on_disconnect(sweep.forget)
        return sweep

    def configure(self, stream: str, **settings: Any) -> None:
        """Change settings of a stream, as an operator does."""
        self.bus.api(f"STREAM.UPDATE.{stream}", {**self.info(stream)["config"], **settings})

    # -- what is in NATS ---------------------------------------------------------------------------------------

    def info(self, stream: str, **body: Any) -> dict[str, Any]:
        return self.bus.api(f"STREAM.INFO.{stream}", body or None)

    def messages(self, stream: str) -> list[Stored]:
        """Give the messages of a stream."""
        found: list[Stored] = []
        while True:
            seq = found[-1].seq + 1 if found else 1
            try:
                found.append(self.bus.following(stream, ">", seq))
            except KeyMissing:
                return found

    def jobs(self) -> list[Stored]:
        """Give the messages of the work queue."""
        return self.messages(names.WORK_STREAM)

    def queued_ids(self) -> list[str]:
        """Give the run ids of the work queue, sorted."""
        return sorted(json.loads(job.payload)["run_id"] for job in self.jobs())

    def keys(self, bucket: str = "pyoco_runs") -> set[str]:
        info = self.info(names.bucket_stream(bucket), subjects_filter=">")
        return {subject.removeprefix(f"$KV.{bucket}.") for subject in info["state"].get("subjects") or {}}

    def snapshot(self, run_id: str) -> dict[str, Any]:
        """Give a snapshot as it is stored."""
        stored = self.bus.last(names.bucket_stream("pyoco_runs"), names.key_subject("pyoco_runs", run_id))
        document: dict[str, Any] = json.loads(stored.payload)
        return document

    # -- what workers do ---------------------------------------------------------------------------------------

    def put(self, run_id: str, document: dict[str, Any] | bytes, *, bucket: str = "pyoco_runs") -> int:
        """Store a value under a key, whatever was there."""
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.bus.write(Write(names.key_subject(bucket, run_id), payload))[0]

    def tombstone(self, key: str, operation: str = "DEL", *, bucket: str = "pyoco_runs") -> int:
        """Remove a key as KV clients do it (ADR-8), by a marker: ``DEL`` or ``PURGE``; gives the marker's revision."""
        headers = {"KV-Operation": operation}
        if operation == "PURGE":
            headers["Nats-Rollup"] = "sub"
        request = self.bus.request(names.key_subject(bucket, key), b"", headers)
        return int(json.loads(self.bus.call(request, timeout_sec=5).data)["seq"])

    def put_many(self, documents: list[dict[str, Any]]) -> int:
        """Store many runs, a hundred a hop; gives the revision of the last."""
        revision = 0
        writes = [
            Write(names.key_subject("pyoco_runs", document["run_id"]), json.dumps(document).encode())
            for document in documents
        ]
        for start in range(0, len(writes), 100):
            revision = self.bus.write(*writes[start : start + 100])[-1]
        return revision

    def change(self, run_id: str, **changes: Any) -> float:
        """Change fields of a stored run; gives the time when that was confirmed, ``time.monotonic()``."""
        changes = {"updated_at": time.time(), **changes}

        def intent(snapshot: Snapshot) -> Snapshot:
            return replace(snapshot, **changes)

        self.runs.change(self.runs.get(run_id), intent)
        return time.monotonic()

    def end(self, run_id: str, status: RunStatus = RunStatus.COMPLETED) -> float:
        return self.change(run_id, status=status, end_time=time.time())


def stored_run(run_id: str, **fields: Any) -> dict[str, Any]:
    """Make a snapshot as 0.5.1 stores it."""
    now = time.time()
    return {
        "run_id": run_id,
        "flow_name": "main",
        "tag": "default",
        "tags": ["default"],
        "tenant_id": None,
        "api_key_id": None,
        "status": "PENDING",
        "params": {"x": 1},
        "tasks": {},
        "task_records": {},
        "start_time": None,
        "end_time": None,
        "heartbeat_at": now,
        "updated_at": now,
        "error": None,
        **fields,
    }
