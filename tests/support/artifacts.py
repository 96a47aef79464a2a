"""What has become of the files of runs: read as any other program reads the store."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from pyoco_server.stores.artifacts import ArtifactStore, StoredArtifact
from tests.support.fleet import Fleet, flow

TASKS = Path(__file__).with_name("saving_tasks.py")


def saving(graph: str, **defaults: Any) -> str:
    """Write a flow.yaml whose tasks are the functions of their names in ``saving_tasks``."""
    names = re.findall(r"\w+", graph)
    return flow(graph, defaults, **{name: f"{TASKS.stem}:{name}" for name in names})


class Files:
    """The artifacts of one NATS, and the folder in which its workers find the tasks that save them."""

    def __init__(self, fleet: Fleet) -> None:
        (fleet.folder / TASKS.name).write_text(TASKS.read_text())
        self.store = ArtifactStore(fleet.bus)
        self._fleet = fleet
        self._first = self._last_seq()

    def of(self, run_id: str) -> dict[tuple[str, int], bytes]:
        """Give the bytes of all artifacts of a run, by name and attempt."""
        found = self.store.of_run(run_id)
        return {(item.name, item.attempt): b"".join(self.store.chunks(run_id, item)) for item in found}

    def named(self, run_id: str) -> dict[str, bytes]:
        """Give those of a run that had one attempt."""
        return {name: data for (name, _), data in self.of(run_id).items()}

    def pieces(self) -> int:
        """Count the pieces of all that has come into the store since this was made."""
        return self._last_seq() - self._first

    def _last_seq(self) -> int:
        return int(self._fleet.bus.api("STREAM.INFO.OBJ_pyoco_artifacts")["state"]["last_seq"])

    def tasks(self, run_id: str) -> dict[str, str | None]:
        """Give the task of each artifact, as far as it is known."""
        return {item.name: item.info.headers.get("x-pyoco-task") for item in self.store.of_run(run_id)}


def marks(run: dict[str, Any], task: str) -> dict[str, Any]:
    """Give what the record of a task says of its files."""
    found: dict[str, Any] = run["task_records"][task]["artifacts"]
    return found


def put(
    store: ArtifactStore,
    run_id: str,
    name: str,
    data: bytes,
    *,
    attempt: int = 1,
    task: str | None = None,
    type_name: str | None = None,
) -> StoredArtifact:
    """Store a file of a run as a worker does."""
    upload, stream = store.begin(run_id, attempt, name), io.BytesIO(data)
    while (piece := stream.read(upload.piece_bytes)) or upload.is_empty:
        upload.add(piece)
    return store.put(run_id, attempt, name, upload.content, task=task, type_name=type_name)
