"""The files that a run has saved, as its page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import PyocoServerError
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import address, quoted
from pyoco_server.stores.artifacts import StoredArtifact

_MAX_ROWS = 40


@dataclass(frozen=True)
class FileView:
    """One file.

    :param href: where its bytes are.
    :param task: empty where it is not known.
    :param saved_at: unix seconds.
    """

    name: str
    href: str
    task: str
    attempt: int
    size_bytes: int
    saved_at: float


@dataclass(frozen=True)
class FileList:
    """The first files of a run, by attempt, the newest first, and by name; and how many there are besides."""

    rows: list[FileView]
    left_out_count: int

    @property
    def is_empty(self) -> bool:
        return not (self.rows or self.left_out_count)


def file_list(snapshot: Snapshot) -> FileList | None:
    """Give the files of a run; none is asked for before it has begun.

    :return: ``None`` when NATS does not give them, which is no reason to show nothing else of the run.
    """
    try:
        store, run_id = gateway().artifacts, snapshot.run_id
        found, left_out_count = store.first_of_run(run_id, _MAX_ROWS, budget_sec=0) if snapshot.attempt else ([], 0)
    except PyocoServerError:
        return None
    return FileList([_view(run_id, artifact) for artifact in found], left_out_count)


def _view(run_id: str, artifact: StoredArtifact) -> FileView:
    entry = artifact.to_document()
    path = f"/runs/{quoted(run_id)}/artifacts/{quote(artifact.name)}"
    return FileView(
        artifact.name,
        address(path, attempt=artifact.attempt),
        entry["task"] or "",
        artifact.attempt,
        entry["size_bytes"],
        entry["created_at"],
    )
