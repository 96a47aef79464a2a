"""Workers without a gateway: a test submits runs to NATS itself and reads there what workers write."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Stored, Write
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import KeyMissing, RevisionConflict
from pyoco_server.service import Deadline
from pyoco_server.states import TERMINAL
from pyoco_server.stores.logs import LogStore
from tests.support.commands import Daemon
from tests.support.waiting import eventually

#: Settings under which the loss of a worker is noticed within two seconds instead of half a minute.
QUICK = {
    "PYOCO_CONSUMER_ACK_WAIT_SEC": "1.5",
    "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "0.3",
    "PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC": "1.2",
    "PYOCO_RUN_HEARTBEAT_INTERVAL_SEC": "0.2",
    "PYOCO_WORKER_HEARTBEAT_INTERVAL_SEC": "0.3",
}
SAMPLES = Path(__file__).with_name("sample_tasks.py")
TAG = "t"


def flow(graph: str, defaults: dict[str, Any] | None = None, **callables: str) -> str:
    """Write a flow.yaml; a task that is not named is the function of its name in ``sample_tasks``.

    :param callables: task name -> ``module:function``, or a function of ``sample_tasks``.
    """
    tasks = dict.fromkeys(re.findall(r"\w+", graph))
    paths = {name: callables.get(name, name) for name in tasks}
    return yaml.safe_dump(
        {
            "version": 1,
            "flow": {"graph": graph, "defaults": defaults or {}},
            "tasks": {
                name: {"callable": path if ":" in path else f"sample_tasks:{path}"} for name, path in paths.items()
            },
        }
    )


class Fleet:
    """The view of one NATS that its workers share."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        (folder / SAMPLES.name).write_text(SAMPLES.read_text())
        self._config = Config.from_env({}, nats_url=url)
        self.bus = Bus(url, name="test", budget_sec=15.0, waits_when_down=True)
        self.bus.connect(10)
        ensure_resources(self.bus, self._config)

    def close(self) -> None:
        self.bus.close(Deadline(5))

    # -- runs ---------------------------------------------------------------------------------------------------

    def submit(self, workflow: str | None = None, *, params: dict[str, Any] | None = None, **fields: Any) -> str:
        """Store a run and queue its job; gives the run id. See :meth:`store_pending`."""
        job = self.store_pending(workflow, params=params, **fields)
        self.queue(job.to_bytes(), msg_id=job.run_id, tag=job.tag)
        return job.run_id

    def store_pending(self, workflow: str | None = None, *, params: dict[str, Any] | None = None, **fields: Any) -> Job:
        """Store a run, and give its job, which is not queued.

        :param params: laid over the defaults of the workflow, as a gateway does.
        :param fields: other fields of the job.
        """
        document = yaml.safe_load(workflow) if workflow else {"flow": {}, "tasks": {}}
        values = {**(document["flow"].get("defaults") or {}), **(params or {})}
        base = Job(str(uuid.uuid4()), "main", TAG, [TAG], values, time.time(), workflow_yaml=workflow)
        job = replace(base, **fields)
        self.store(Snapshot.pending(job, origin="test", tasks=list(document["tasks"]), now=time.time()))
        return job

    def queue(self, payload: bytes, *, msg_id: str | None = None, tag: str = TAG) -> int:
        """Publish whatever as a job; gives its sequence."""
        return self.bus.write(Write(f"pyoco.work.{tag}", payload, msg_id=msg_id))[0]

    def job_of(self, run_id: str) -> bytes:
        """Give the queued job of a run."""
        for stored in self._all("PYOCO_WORK", "pyoco.work.>"):
            if json.loads(stored.payload)["run_id"] == run_id:
                return stored.payload
        raise AssertionError(f"run {run_id} has no job")

    def store(self, snapshot: Snapshot) -> None:
        subject = names.key_subject("pyoco_runs", snapshot.run_id)
        self.bus.write(Write(subject, snapshot.to_bytes(1_000_000), expected_revision=0))

    def change(self, run_id: str, **fields: Any) -> dict[str, Any]:
        """Change fields of a snapshot by compare-and-set, as another program of the fleet would."""
        return self._change("pyoco_runs", run_id, fields)

    def change_worker(self, worker_id: str, **fields: Any) -> dict[str, Any]:
        """Change fields of a worker's record in the same way."""
        return self._change("pyoco_workers", worker_id, fields)

    def _change(self, bucket: str, key: str, fields: dict[str, Any]) -> dict[str, Any]:
        subject = names.key_subject(bucket, key)
        while True:
            stored = self.bus.last(names.bucket_stream(bucket), subject)
            document: dict[str, Any] = {**json.loads(stored.payload), **fields}
            try:
                self.bus.write(Write(subject, json.dumps(document).encode(), expected_revision=stored.seq))
                return document
            except RevisionConflict:
                continue

    def run(self, run_id: str) -> dict[str, Any]:
        """Give a snapshot as it is stored."""
        document: dict[str, Any] = json.loads(
            self.bus.last("KV_pyoco_runs", names.key_subject("pyoco_runs", run_id)).payload
        )
        return document

    def has_run(self, run_id: str) -> bool:
        try:
            return bool(self.run(run_id))
        except KeyMissing:
            return False

    def is_over(self, run_id: str) -> bool:
        return self.run(run_id)["status"] in {status.value for status in TERMINAL}

    def ended(self, run_id: str, status: str = "COMPLETED", *, timeout_sec: float = 20.0) -> dict[str, Any]:
        """Wait until a run is over and its job is out of the queue; give its snapshot."""
        self.wait_until(lambda: self.is_over(run_id), "the end of the run", timeout_sec)
        run = self.run(run_id)
        assert run["status"] == status, (run["status"], run["error"])
        self.wait_until(lambda: not self.has_job(run_id), "the acknowledgement of its job", timeout_sec)
        return run

    def running(self, run_id: str, task: str | None = None) -> dict[str, Any]:
        """Wait until a run (and a task of it) is RUNNING; give its snapshot."""

        def look() -> bool:
            run = self.run(run_id)
            return run["status"] == "RUNNING" and (task is None or run["tasks"].get(task) == "RUNNING")

        self.wait_until(look, f"the run's beginning: {task}")
        return self.run(run_id)

    def wait_for_life(self, run_id: str) -> None:
        """Wait until a run's worker gives another sign of life, and see that the run goes on."""
        before = self.run(run_id)["heartbeat_at"]
        self.wait_until(lambda: self.run(run_id)["heartbeat_at"] > before, "a sign of life of the run")
        assert self.run(run_id)["status"] == "RUNNING"

    def wait_until(self, look: Callable[[], object], what: str, timeout_sec: float = 20.0) -> None:
        eventually(look, what=what, timeout_sec=timeout_sec)

    # -- what else is in NATS -----------------------------------------------------------------------------------

    def has_job(self, run_id: str) -> bool:
        return self.job_count(run_id) > 0

    def job_count(self, run_id: str) -> int:
        """Count the copies of a run's job."""
        return sum(run_id.encode() in stored.payload for stored in self._all("PYOCO_WORK", "pyoco.work.>"))

    def redelivered_count(self, tag: str) -> int:
        """Count the jobs of a tag that were delivered more than once and are not ended."""
        return int(self.bus.api(f"CONSUMER.INFO.PYOCO_WORK.pyoco_workers_{tag}")["num_redelivered"])

    def delivery_count(self, tag: str) -> int:
        """Count how often jobs of a tag were handed out so far."""
        return int(self.bus.api(f"CONSUMER.INFO.PYOCO_WORK.pyoco_workers_{tag}")["delivered"]["consumer_seq"])

    def queue_is_empty(self) -> bool:
        return self.bus.api("STREAM.INFO.PYOCO_WORK")["state"]["messages"] == 0

    def dead_letters(self, run_id: str | None = None) -> list[dict[str, Any]]:
        letters = [json.loads(stored.payload) for stored in self._all("PYOCO_DLQ", "pyoco.dlq.>")]
        return [letter for letter in letters if run_id is None or letter["run_id"] == run_id]

    def worker(self, worker_id: str) -> dict[str, Any]:
        """Give a worker's record; empty when it has none."""
        try:
            stored = self.bus.last("KV_pyoco_workers", names.key_subject("pyoco_workers", worker_id))
        except KeyMissing:
            return {}
        document: dict[str, Any] = json.loads(stored.payload)
        return document

    def log(self, run_id: str) -> list[dict[str, Any]]:
        """Give what is kept of a run's output."""
        return [entry.fields for entry in LogStore(self.bus).read(run_id).entries]

    def _all(self, stream: str, subject: str) -> list[Stored]:
        found: list[Stored] = []
        while True:
            try:
                found.append(self.bus.following(stream, subject, found[-1].seq + 1 if found else 1))
            except KeyMissing:
                return found

    # -- the folder in which workers are started ----------------------------------------------------------------

    def touch(self, name: str) -> None:
        """Make a file that a task waits for."""
        (self.folder / name).touch()

    def wait_for_file(self, name: str) -> str:
        """Wait for a file that a task writes, and give its text."""
        path = self.folder / name
        eventually(lambda: path.exists() and path.read_text(), what=f"the file {name}")
        return path.read_text()


def lines(worker: Daemon) -> list[dict[str, Any]]:
    """Give the log of a worker."""
    return [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]


def printed(worker: Daemon, run_id: str) -> list[tuple[str | None, str]]:
    """Give what a run printed, as it stands in the worker's log: task and line."""
    return [
        (line.get("task"), line["message"])
        for line in lines(worker)
        if line["logger"] == "pyoco_server.output" and line.get("run_id") == run_id
    ]


def is_alive(pid: int) -> bool:
    """Say whether a process is there and no zombie.

    The main thread of one that was killed is a zombie while the others end, and its pipes are open as long as these do.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return False


def runners_of(worker: Daemon) -> list[int]:
    """Give the process ids of a worker's runners."""
    return [runner for server in fork_servers_of(worker) for runner in _children(server, "pyoco_server.runner")]


def fork_servers_of(worker: Daemon) -> list[int]:
    """Give the process ids of what the runners of a worker are forked from."""
    return children_of(worker, "pyoco_server.runner")


def children_of(worker: Daemon, word: str) -> list[int]:
    """Give the process ids of the processes that a worker has started whose command line has the word in it."""
    return _children(worker.process.pid, word)


def _children(of: int, word: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == of and word.encode() in command and is_alive(int(folder.name)):
                found.append(int(folder.name))
    return found


def kill(pid: int, number: int) -> None:
    os.kill(pid, number)
