"""Workers that import what the wheel registry has, and runs that say what they have imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.crew import Crew, Worker
from tests.support.fleet import flow
from tests.support.wheels import Registry

#: Gives the version of ``demo``.
WHICH = flow("which", which="demo:which")


@dataclass
class Shop:
    """Workers with wheel sync, and the registry that they follow."""

    crew: Crew
    registry: Registry

    def hire(self, name: str = "w", *flags: str, **env: str) -> Worker:
        folder = str(self.folder(name))
        return self.crew.hire(name, "--wheel-sync", "--wheel-sync-dir", folder, *flags, **env)

    def folder(self, name: str = "w") -> Path:
        return self.crew.fleet.folder / f"wheels-{name}-{self.crew.tag}"

    def run(self, workflow: str | None = WHICH, task: str = "which", status: str = "COMPLETED", **fields: Any) -> Any:
        """Submit a run, wait for its end, and give what a task gave."""
        run = self.crew.fleet.ended(self.crew.submit(workflow, **fields), status)
        return run["task_records"][task]["output"] if status == "COMPLETED" else run["error"]

    def sync_of(self, worker: Worker) -> dict[str, Any]:
        status: dict[str, Any] = self.crew.fleet.worker(worker.worker_id).get("wheel_sync", {})
        return status

    def wait_for_sync(self, worker: Worker, **expected: Any) -> dict[str, Any]:
        """Wait until the worker's record says this."""

        def look() -> bool:
            status = self.sync_of(worker)
            return all(status.get(name) == value for name, value in expected.items())

        self.crew.fleet.wait_until(look, f"wheel_sync saying {expected}: {worker.worker_id}")
        return self.sync_of(worker)
