"""The object store of the artifacts: the files that the tasks of runs have saved, of every attempt.

NATS itself removes what is too old or too much, the oldest messages first, so that of one object the content goes
before its description, and its first piece before the last. What is not there as a whole is therefore not offered,
and nothing need be cleaned up: what a worker has left that died in the middle of an upload goes by its age, too.

Source: contract, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.object_documents import Content, ObjectInfo
from pyoco_server.bridge.objects import ObjectStore, Upload
from pyoco_server.contract import names
from pyoco_server.contract.artifacts import (
    TASK_HEADER,
    ArtifactEntry,
    artifact_headers,
    content_place,
    name_fault,
    object_name,
    read_place,
    type_of,
)
from pyoco_server.errors import ArtifactNotFound, KeyMissing


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact that is there as a whole."""

    name: str
    attempt: int
    info: ObjectInfo

    @property
    def content_type(self) -> str:
        """Its media type."""
        return type_of(self.info.headers)

    def to_document(self) -> ArtifactEntry:
        """Give the entry as it is listed."""
        info = self.info
        return {
            "name": self.name,
            "attempt": self.attempt,
            "task": info.headers.get(TASK_HEADER),
            "size_bytes": info.size,
            "content_type": self.content_type,
            "sha256": info.sha256_hex,
            "created_at": info.modified_at,
        }


class ArtifactStore:
    """Keeps the files of runs."""

    def __init__(self, bus: Bus) -> None:
        self._objects = ObjectStore(bus, names.ARTIFACTS_BUCKET)

    def begin(self, run_id: str, attempt: int, name: str) -> Upload:
        """Begin to store the bytes of an artifact; costs no request.

        :param name: one that has no fault (:func:`pyoco_server.contract.artifacts.name_fault`).
        """
        return self._objects.begin(content_place(run_id, attempt, name))

    def put(
        self,
        run_id: str,
        attempt: int,
        name: str,
        content: Content,
        *,
        task: str | None,
        type_name: str | None,
        budget_sec: float | None = None,
    ) -> StoredArtifact:
        """Make an artifact of stored bytes, in place of the one that the attempt may have had of this name.

        :param task: the one that saved it, where that is known.
        :param type_name: see :func:`pyoco_server.contract.artifacts.content_type`.
        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :raises BusError: no room.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        headers = artifact_headers(run_id, attempt, name, task, type_name)
        place = object_name(run_id, attempt, name)
        return StoredArtifact(name, attempt, self._objects.put(place, content, headers, budget_sec=budget_sec))

    def discard(self, nuid: str, *, budget_sec: float | None = None) -> None:
        """Remove bytes that belong to no artifact (any more); where that fails they go by their age."""
        self._objects.discard(nuid, budget_sec=budget_sec)

    def of_run(self, run_id: str, *, budget_sec: float | None = None) -> list[StoredArtifact]:
        """Read the artifacts of a run, by attempt, the newest first, and by name.

        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :raises BusUnavailable: no answer.
        """
        return self._find(content_place(run_id), budget_sec=budget_sec)[0]

    def first_of_run(
        self, run_id: str, limit: int, *, budget_sec: float | None = None
    ) -> tuple[list[StoredArtifact], int]:
        """Read the first artifacts of a run, in the order of :meth:`of_run`.

        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :return: no more than ``limit``, and the number of those that were not read.
        :raises BusUnavailable: no answer.
        """
        return self._find(content_place(run_id), limit, budget_sec=budget_sec)

    def get(self, run_id: str, name: str, attempt: int | None = None) -> StoredArtifact:
        """Read one artifact.

        :param attempt: the newest that has one of this name when ``None``.
        :raises ArtifactNotFound: there is none, or it is not kept any more.
        :raises BusUnavailable: no answer.
        """
        found = self._find(content_place(run_id, attempt, name))[0] if name_fault(name) is None else []
        if not found:
            raise ArtifactNotFound(run_id, name, attempt)
        return found[0]

    def chunks(self, run_id: str, artifact: StoredArtifact) -> Iterator[bytes]:
        """Read the bytes of an artifact, piece by piece, and verify them.

        :raises ArtifactNotFound: it has gone meanwhile.
        :raises BusError: it is damaged.
        :raises BusUnavailable: no answer.
        """
        try:
            yield from self._objects.chunks(artifact.info)
        except KeyMissing as exc:
            raise ArtifactNotFound(run_id, artifact.name, artifact.attempt) from exc

    def _find(
        self, place: str, limit: int | None = None, *, budget_sec: float | None = None
    ) -> tuple[list[StoredArtifact], int]:
        """Read the artifacts whose content lies under a place, in the order of :meth:`of_run`.

        :param limit: the descriptions of no more than so many are asked for, each of which is a request.
        :return: those that are there as a whole, and how many were not asked for.
        """
        pieces = self._objects.contents(place, budget_sec=budget_sec)
        keys = sorted({key for key in map(read_place, pieces) if key is not None}, key=lambda key: (-key[1], key[2]))
        known = {object_name(*key): key for key in keys[:limit]}
        found = []
        for info in self._objects.get_each(list(known)):
            # Also where there is content, because it may be that of another upload.
            if info.name in known and pieces.get(info.nuid) == info.chunks:
                _, attempt, name = known[info.name]
                found.append(StoredArtifact(name, attempt, info))
        return found, len(keys) - len(known)
