"""A NATS that something is wrong with, and ``pyoco-nats doctor`` as an operator runs it there."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.overview import list_streams
from pyoco_server.bridge.resources import ensure_consumer, ensure_resources
from pyoco_server.bridge.streams import change_stream
from pyoco_server.config import Config
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import BusError
from pyoco_server.service import Deadline
from pyoco_server.stores.queue import Queue
from tests.support.commands import run
from tests.support.waiting import eventually

#: NATS cannot make the store of a stream.
_STORE_FAILED = 10049


class Clinic:
    """The installation of one NATS, on which everything is in order at first.

    :param folder: where commands are run.
    :param is_empty: whether none of our streams is made.
    :param env: settings of all commands, by their variables.
    """

    def __init__(self, url: str, folder: Path, *, is_empty: bool = False, **env: str) -> None:
        self.url = url
        self._folder = folder
        self._env = env
        self._config = Config.from_env(env, nats_url=url)
        self.bus = Bus(url, name="test", budget_sec=15.0, waits_when_down=True)
        self.bus.connect(10)
        if not is_empty:
            ensure_resources(self.bus, self._config)

    def close(self) -> None:
        self.bus.close(Deadline(5))

    def restore_order(self) -> None:
        """Remove all streams, and make ours anew."""
        for stream in self.bus.api("STREAM.NAMES")["streams"] or ():
            self.bus.api(f"STREAM.DELETE.{stream}")
        eventually(self._is_made_anew, what="all streams made anew")

    def _is_made_anew(self) -> bool:
        try:
            ensure_resources(self.bus, self._config)
        except BusError as exc:
            # The folder of a stream goes behind the answer that it is gone.
            assert exc.err_code == _STORE_FAILED, exc
            return False
        return True

    def replace(self, stream: str, **settings: Any) -> None:
        """Put a stream of other settings in the place of one that is there."""
        self.bus.api(f"STREAM.DELETE.{stream}")
        self.bus.api(f"STREAM.CREATE.{stream}", {"name": stream, "storage": "file", "num_replicas": 1, **settings})

    def change(self, stream: str, **settings: Any) -> None:
        change_stream(self.bus, stream, settings)

    def settings(self, stream: str) -> dict[str, Any]:
        found: dict[str, Any] = self.bus.api(f"STREAM.INFO.{stream}")["config"]
        return found

    def holders(self) -> dict[str, set[str | None]]:
        """Name the servers that have a copy of each stream."""
        streams, _ = list_streams(self.bus)
        return {each.name: {each.leader, *(replica.name for replica in each.replicas)} for each in streams}

    def make_single(self, stream: str) -> set[str | None]:
        """Make a stream of one copy; name the server that has it."""
        self.bus.api(f"STREAM.CREATE.{stream}", {"name": stream, "subjects": [stream], "storage": "file"})
        return eventually(lambda: self.holders().get(stream, set()) - {None}, what=f"a leader of {stream}")

    def serve_tag(self, tag: str, **settings: str) -> None:
        """Make the consumer of a tag, as a worker with these settings does."""
        ensure_consumer(self.bus, Config.from_env(settings, nats_url=self.url), tag)

    def queue(self, tag: str) -> None:
        self.bus.write(Write(f"pyoco.work.{tag}", b"{}"))

    def queue_run(self, tag: str, workflow_yaml: str | None = None, **fields: Any) -> None:
        """Store a run with these fields of its snapshot, and queue its job."""
        job = Job(str(uuid.uuid4()), "main", tag, [tag], {}, time.time(), workflow_yaml=workflow_yaml)
        snapshot = Snapshot.pending(job, origin="test", tasks=[], now=time.time()).to_document()
        self.bus.write(Write(f"$KV.pyoco_runs.{job.run_id}", json.dumps({**snapshot, **fields}).encode()))
        self.bus.write(Write(f"pyoco.work.{tag}", job.to_bytes()))

    def take(self, tag: str) -> bool:
        """Take a job and keep it."""
        return Queue(self.bus, self._config).pull(tag, wait_sec=5) is not None

    def exhaust(self, tag: str) -> None:
        """Take a job as a worker does that dies, and wait until its lease is over."""
        queue = Queue(self.bus, self._config)
        assert self.take(tag)
        eventually(lambda: queue.tag_counts()[0].lost_count, what="a job that is not handed out again")

    def put_worker(self, worker_id: str, seen_at: float, **fields: Any) -> None:
        """Store a worker's record as the worker itself does."""
        record = {"worker_id": worker_id, "instance_id": "i", "state": "IDLE", "tags": ["t"], **fields}
        record |= {"last_seen_at": seen_at, "updated_at": seen_at}
        self.bus.write(Write(f"$KV.pyoco_workers.{worker_id}", json.dumps(record).encode()))

    def ask(self, *words: str, prog: str = "pyoco-nats", **env: str) -> tuple[int, str]:
        """Run a command; give its exit status and what it printed."""
        done = run(prog, *words, cwd=self._folder, PYOCO_NATS_URL=self.url, **{**self._env, **env})
        assert done.stderr == "", done.stderr
        return done.returncode, done.stdout

    def doctor(self, *flags: str, **env: str) -> Diagnosis:
        """Have the doctor look."""
        status, printed = self.ask("doctor", "--json", *flags, **env)
        return Diagnosis(status, **json.loads(printed))


class Diagnosis:
    """What ``doctor --json`` says.

    :param status: its exit status.
    """

    def __init__(self, status: int, findings: list[dict[str, Any]], fixed: list[dict[str, Any]]) -> None:
        self.status = status
        self.findings = findings
        self.found = {(finding["id"], finding["subject"]) for finding in findings}
        self.fixed = {(finding["id"], finding["subject"]) for finding in fixed}
