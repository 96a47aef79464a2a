"""The files that a run has saved, as its page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import PyocoServerError
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import address, quoted
from pyoco_server.stores.artifacts import StoredArtifact


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


def file_views(snapshot: Snapshot) -> list[FileView] | None:
    """Give the files of a run, by attempt, the newest first, and by name; none is asked for before it has begun.

    :return: ``None`` when NATS does not give them, which is no reason to show nothing else of the run.
    """
    try:
        found = gateway().artifacts.of_run(snapshot.run_id, budget_sec=0) if snapshot.attempt else []
    except PyocoServerError:
        return None
    return [_view(snapshot.run_id, artifact) for artifact in found]


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
