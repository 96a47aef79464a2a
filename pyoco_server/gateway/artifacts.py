"""Routes of the files that the tasks of a run have saved: list, download.

Source: issue 7; design, "Artifacts".
"""

from __future__ import annotations

from flask import Blueprint, Response

from pyoco_server.contract.artifacts import BYTES_TYPE, ArtifactEntry
from pyoco_server.errors import ArtifactNotFound
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import described
from pyoco_server.gateway.downloads import download
from pyoco_server.gateway.queries import ArtifactQuery

blueprint = Blueprint("artifacts", __name__)


@blueprint.get("/runs/<run_id>/artifacts")
@described()
def list_artifacts(run_id: str) -> list[ArtifactEntry]:
    """List the files that a run has saved, by attempt, the newest first, and by name."""
    parts = gateway()
    parts.runs.get(run_id)
    return [artifact.to_document() for artifact in parts.artifacts.of_run(run_id)]


@blueprint.get("/runs/<run_id>/artifacts/<path:name>")
@described(media_type=BYTES_TYPE, answer=bytes, also=(304,), refuses=(ArtifactNotFound,))
def download_artifact(run_id: str, name: str, query: ArtifactQuery) -> Response:
    """Give the bytes of a file that a run has saved."""
    parts = gateway()
    parts.runs.get(run_id)
    artifact = parts.artifacts.get(run_id, name, query.attempt)
    chunks = parts.artifacts.chunks(run_id, artifact)
    return download(artifact.info, chunks, artifact.content_type, name.rpartition("/")[2])
