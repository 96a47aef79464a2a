"""The workers of one test, on a NATS that the tests of a file may share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.support.commands import Daemon
from tests.support.fleet import Fleet, flow
from tests.support.processes import MARK, Family
from tests.support.waiting import eventually


class Worker(Daemon):
    """One worker, with the name that it has in the registry."""

    def __init__(self, worker_id: str, *flags: str, cwd: Path, log: Path, **env: str) -> None:
        super().__init__("pyoco-worker", "--worker-id", worker_id, *flags, cwd=cwd, log=log, **env)
        self.worker_id = worker_id


class Crew:
    """Starts workers that serve a tag of their own, and runs that wait for the test."""

    def __init__(self, fleet: Fleet, nats_url: str) -> None:
        self.fleet = fleet
        self.tag = uuid4().hex[:8]
        self.family = Family()
        #: Where the workers' temporary files lie.
        self.scratch = fleet.folder / f"scratch-{self.tag}"
        self.scratch.mkdir()
        self._nats_url = nats_url
        self._workers: list[Worker] = []

    def begin(self, name: str, *flags: str, **env: str) -> Worker:
        """Start a worker, whose runs give signs of life quickly; it need not come to serve. The last ``--tags`` counts.

        :param name: tells the workers of the test apart.
        """
        ours = {MARK: self.family.mark, "TMPDIR": str(self.scratch), "PYOCO_RUN_HEARTBEAT_INTERVAL_SEC": "0.2"}
        worker_id = f"{name}-{self.tag}"
        log = self.fleet.folder / f"{worker_id}-{len(self._workers)}.log"
        flags = ("--nats-url", self._nats_url, "--tags", self.tag, *flags)
        self._workers.append(Worker(worker_id, *flags, cwd=self.fleet.folder, log=log, **{**ours, **env}))
        return self._workers[-1]

    def hire(self, name: str, *flags: str, **env: str) -> Worker:
        """Start a worker and wait until it serves."""
        worker = self.begin(name, *flags, **env)
        worker.wait_for_log("the worker serves")
        return worker

    def dismiss(self) -> None:
        """Leave nothing behind, whatever the test has found."""
        self.family.end()
        for worker in self._workers:
            worker.process.wait(20)

    def submit(self, workflow: str | None = None, **fields: Any) -> str:
        return self.fleet.submit(workflow, **{"tag": self.tag, **fields})

    def submit_held(self, graph: str = "hold", **fields: Any) -> str:
        """Submit a run whose task ``hold`` waits for :meth:`let_go`."""
        return self.submit(flow(graph), params={"name": self.tag}, **fields)

    def wait_for_begin(self, count: int = 1) -> list[int]:
        """Wait until ``hold`` was begun so many times; give the process ids of the runners that did."""
        eventually(lambda: len(self.begun()) >= count, what=f"{count} executions of hold")
        return self.begun()

    def begun(self) -> list[int]:
        """Give the process ids of the runners that have begun ``hold``, in order."""
        path = self.fleet.folder / f"{self.tag}.begun"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def let_go(self, execution: int | None = None) -> None:
        """Let ``hold`` go on.

        :param execution: only this one, counted from 1, of ``hold_each``.
        """
        self.fleet.touch(self.tag if execution is None else f"{self.tag}.{execution}")

    def nothing_is_left(self) -> bool:
        """Say whether no process of a worker goes on and no temporary file is there."""
        return not self.family.members() and not any(self.scratch.iterdir())


def reasons(letters: Iterable[dict[str, Any]]) -> list[str]:
    return [letter["reason"] for letter in letters]
