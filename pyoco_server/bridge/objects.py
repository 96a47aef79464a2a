"""Object stores of NATS, as every client of NATS reads and writes them, in bounded memory and with deadlines.

An object is a description under a subject made of its name, and its content in pieces under a subject of its own.
The description is written last and by compare-and-set, so an object is there as a whole or not at all.

Source: ADR-20 (object store).
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Stored, Write
from pyoco_server.bridge.object_documents import DIGEST, Content, ObjectInfo, described, readable
from pyoco_server.bridge.streams import counted_subjects, subjects_of
from pyoco_server.contract import names
from pyoco_server.errors import BusError, BusUnavailable, KeyMissing, PyocoServerError

logger = logging.getLogger(__name__)

#: A piece of an object; the size that clients of NATS agree on.
CHUNK_BYTES = 131_072
#: Content that belongs to no object and to which nobody has added a piece for so long was left behind. Other programs
#: of the fleet (0.5.1) describe an object within seconds of its last piece.
UNLISTED_SEC = 3600.0
#: What moves the revision of the list before such content is removed: the description of an object that was deleted.
_FENCE_NAME = "unlisted-content"


@dataclass(frozen=True)
class Listing:
    """The objects of a store at one moment.

    :param revision: sequence of the newest description, of deleted ones too; 0 = there was never an object.
    """

    objects: list[ObjectInfo]
    revision: int


class Upload:
    """Content on its way into a store, piece by piece.

    :param nuid: names the content.
    :param begun_at: see :class:`Content`.
    """

    def __init__(self, bus: Bus, bucket: str, nuid: str, begun_at: float) -> None:
        self._bus = bus
        self._subject = names.chunk_subject(bucket, nuid)
        self._begun_at = begun_at
        self._digest = hashlib.sha256()
        self._size = self._count = 0
        self.nuid = nuid

    @property
    def piece_bytes(self) -> int:
        """The size of a piece."""
        return min(CHUNK_BYTES, self._bus.max_payload_bytes // 2)

    @property
    def is_empty(self) -> bool:
        """Whether no piece is stored yet."""
        return self._count == 0

    @property
    def size(self) -> int:
        """Bytes that are stored already."""
        return self._size

    def add(self, piece: bytes, *, budget_sec: float | None = None) -> None:
        """Store the next piece.

        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :raises BusError: no room.
        :raises BusUnavailable: not confirmed.
        """
        # By its id: a piece that is sent again, because its answer was lost, is stored once.
        write = Write(self._subject, piece, msg_id=f"{self.nuid}.{self._count}")
        self._bus.write(write, budget_sec=budget_sec)
        self._digest.update(piece)
        self._size += len(piece)
        self._count += 1

    @property
    def content(self) -> Content:
        """What is stored."""
        return Content(self._begun_at, self.nuid, self._size, self._count, self._digest.digest())


class ObjectStore:
    """Reads and writes one object store."""

    def __init__(self, bus: Bus, bucket: str) -> None:
        self._bus = bus
        self._bucket = bucket
        self._stream = names.object_stream(bucket)

    def revision(self) -> int:
        """Give the sequence of the newest description; whoever knows it knows whether anything has changed.

        :raises BusUnavailable: no answer.
        """
        try:
            return self._bus.last(self._stream, names.object_subjects(self._bucket)).seq
        except KeyMissing:
            return 0

    def list(self) -> Listing:
        """Read the descriptions of all objects that are there, by their names.

        :raises BusUnavailable: no answer.
        """
        # First: what changes meanwhile makes a compare-and-set against it fail.
        revision = self.revision()
        known = [info for info in map(readable, self._descriptions()) if info is not None and not info.is_deleted]
        return Listing(sorted(known, key=lambda info: info.name), revision)

    def get(self, name: str) -> ObjectInfo:
        """Read the description of an object.

        :raises KeyMissing: there is none, or it was deleted.
        :raises BusUnavailable: no answer.
        """
        info = readable(self._bus.last(self._stream, names.object_subject(self._bucket, name)))
        if info is None or info.is_deleted:
            raise KeyMissing(f"There is no object {name}.")
        return info

    def store(self, stream: IO[bytes]) -> Content:
        """Store content, piece by piece; it belongs to no object before :meth:`publish`.

        :param stream: read from where it stands to its end.
        :raises BusError: no room; nothing is left behind.
        :raises BusUnavailable: not confirmed; what was stored is removed as far as that is possible.
        """
        upload = self.begin(begun_at=self._bus.server_time(self._stream))
        try:
            while chunk := stream.read(upload.piece_bytes):
                upload.add(chunk)
        except BaseException:
            self.discard(upload.nuid)
            raise
        return upload.content

    def begin(self, place: str = "", *, begun_at: float = 0.0) -> Upload:
        """Begin to store content; costs no request.

        :param place: subject tokens under which the content lies, so that it can be found by them.
        :param begun_at: the time by the server's clock, of content that is for :meth:`publish`.
        """
        nuid = uuid.uuid4().hex
        return Upload(self._bus, self._bucket, f"{place}.{nuid}" if place else nuid, begun_at)

    def put(
        self, name: str, content: Content, headers: Mapping[str, str], *, budget_sec: float | None = None
    ) -> ObjectInfo:
        """Make an object of stored content, whatever else is in the store; nobody else writes this name meanwhile.

        The content that the object may have had stays: whoever wrote it removes it.

        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :raises BusError: no room.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        document = self._of_content(name, content, headers)
        write = Write(names.object_subject(self._bucket, name), json.dumps(document).encode(), is_rollup=True)
        return described(document, self._bus.write(write, budget_sec=budget_sec)[0], stored_at=0.0)

    def contents(self, place: str, *, budget_sec: float | None = None) -> dict[str, int]:
        """Tell what content lies under a place: the number of its pieces by its name.

        :param place: subject tokens, ``*`` for any.
        :param budget_sec: seconds for retries; the connection's own when ``None``.
        :raises BusUnavailable: no answer.
        """
        prefix, pattern = names.chunk_subject(self._bucket, ""), names.chunk_subject(self._bucket, f"{place}.>")
        found = counted_subjects(self._bus, self._stream, pattern, budget_sec=budget_sec)
        return {subject[len(prefix) :]: count for subject, count in found}

    def get_each(self, object_names: Sequence[str]) -> Iterator[ObjectInfo]:
        """Read the descriptions of those of these objects that are there.

        :raises BusUnavailable: no answer.
        """
        subjects = [names.object_subject(self._bucket, name) for name in object_names]
        for stored in self._bus.last_of_each(self._stream, subjects):
            info = readable(stored) if stored is not None else None
            if info is not None and not info.is_deleted:
                yield info

    def publish(self, name: str, content: Content, headers: Mapping[str, str], *, revision: int) -> ObjectInfo:
        """Make an object of stored content, unless anything in the store has changed since ``revision``.

        :param revision: that of a listing.
        :raises RevisionConflict: something has; the content is kept.
        :raises BusUnavailable: not confirmed, or so long after the content was stored that it may be removed.
        """
        # After the revision was read: see discard_unlisted. Half of it, because clocks of two servers may differ.
        if self._bus.server_time(self._stream) - content.begun_at >= UNLISTED_SEC / 2:
            raise BusUnavailable(f"{name} took too long to be stored. Send it again.")
        document = self._of_content(name, content, headers)
        return described(document, self._describe(document, revision), stored_at=0.0)

    def delete(self, info: ObjectInfo) -> None:
        """Delete an object as it was read.

        :raises RevisionConflict: it was written or deleted meanwhile.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        document = {**self._document(info.name, info.nuid, info.headers), "deleted": True}
        subject, payload = names.object_subject(self._bucket, info.name), json.dumps(document).encode()
        self._bus.write(Write(subject, payload, expected_revision=info.revision, is_rollup=True))
        self.discard(info.nuid)

    def discard_unlisted(self) -> int:
        """Remove content that was left behind: it belongs to no object, and nobody has added to it for an hour.

        An upload that is slower than that cannot be listed without its content: between the look at the list and the
        removal the list gets a new revision, so whoever publishes has read its revision either before, and is refused,
        or after, and finds by the server's clock that it is too late.

        :return: how many contents.
        :raises RevisionConflict: the list has changed meanwhile; nothing was removed.
        :raises BusUnavailable: no answer.
        """
        # In this order: the age is not overrated, and what is listed meanwhile is found in the list.
        now = self._bus.server_time(self._stream)
        prefix = names.chunk_subject(self._bucket, "")
        stored = {subject[len(prefix) :] for subject in subjects_of(self._bus, self._stream, f"{prefix}>")}
        listing = self.list()
        unlisted = stored - {info.nuid for info in listing.objects}
        left = [nuid for nuid in unlisted if now - self._touched_at(nuid) >= UNLISTED_SEC]
        if left:
            self._describe({**self._document(_FENCE_NAME, "", {}), "deleted": True}, listing.revision)
        for nuid in left:
            self.discard(nuid)
        return len(left)

    def forget_deleted(self) -> int:
        """Remove the descriptions of objects that were deleted an hour ago: each of them would slow every list down.

        The newest description stays, whatever it is of, because its sequence is the revision of the list.

        :return: how many.
        :raises BusUnavailable: no answer; safe to repeat.
        """
        now, revision, count = self._bus.server_time(self._stream), self.revision(), 0
        for stored in self._descriptions():
            info = readable(stored)
            is_old = stored.seq < revision and now - stored.stored_at >= UNLISTED_SEC
            if info is not None and info.is_deleted and is_old:
                # Up to its own sequence: what is written meanwhile stays.
                self._bus.api(f"STREAM.PURGE.{self._stream}", {"filter": stored.subject, "seq": stored.seq + 1})
                count += 1
        return count

    def discard(self, nuid: str, *, budget_sec: float | None = None) -> None:
        """Remove content that belongs to no object (any more); where that fails it takes room for a while."""
        try:
            purge = {"filter": names.chunk_subject(self._bucket, nuid)}
            self._bus.api(f"STREAM.PURGE.{self._stream}", purge, budget_sec=budget_sec)
        except PyocoServerError as exc:
            logger.warning("content of the object store %s is left behind: %s", self._bucket, exc)

    def _descriptions(self) -> Iterator[Stored]:
        """Read the descriptions of all objects, deleted ones too, and whatever stands in their place."""
        subjects = [*subjects_of(self._bus, self._stream, names.object_subjects(self._bucket))]
        return (stored for stored in self._bus.last_of_each(self._stream, subjects) if stored is not None)

    def _touched_at(self, nuid: str) -> float:
        """Give when the last piece of content came, by the server's clock; of what is gone, never."""
        try:
            return self._bus.last(self._stream, names.chunk_subject(self._bucket, nuid)).stored_at
        except KeyMissing:
            return float("inf")

    def _document(self, name: str, nuid: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """Give the description of an object without content."""
        return {
            "name": name,
            "bucket": self._bucket,
            "nuid": nuid,
            "size": 0,
            "mtime": "",
            "chunks": 0,
            "digest": "",
            "deleted": False,
            "headers": dict(headers),
            "options": {"max_chunk_size": CHUNK_BYTES},
        }

    def _of_content(self, name: str, content: Content, headers: Mapping[str, str]) -> dict[str, Any]:
        """Give the description of an object that is there."""
        return {
            **self._document(name, content.nuid, headers),
            "size": content.size,
            "mtime": datetime.now(timezone.utc).isoformat(),
            "chunks": content.chunks,
            "digest": DIGEST + base64.urlsafe_b64encode(content.digest).decode(),
        }

    def _describe(self, document: dict[str, Any], revision: int) -> int:
        """Store a description, unless anything in the store has changed since ``revision``; gives its own."""
        write = Write(
            names.object_subject(self._bucket, document["name"]),
            json.dumps(document).encode(),
            expected_revision=revision,
            expected_of=names.object_subjects(self._bucket),
            is_rollup=True,
        )
        return self._bus.write(write)[0]

    def chunks(self, info: ObjectInfo) -> Iterator[bytes]:
        """Read the content of an object, piece by piece.

        :raises KeyMissing: it is gone: deleted or written anew meanwhile.
        :raises BusError: it is not what its description says.
        :raises BusUnavailable: no answer.
        """
        subject, digest, size, seq = names.chunk_subject(self._bucket, info.nuid), hashlib.sha256(), 0, 0
        while size < info.size:
            stored = self._bus.following(self._stream, subject, seq + 1)
            seq = stored.seq
            digest.update(stored.payload)
            size += len(stored.payload)
            if size < info.size:
                yield stored.payload
            elif size == info.size and digest.hexdigest() == info.sha256_hex:
                # The last piece is given when all of it is known to be right.
                yield stored.payload
                return
        if size or digest.hexdigest() != info.sha256_hex:
            raise BusError(f"The content of {info.name} is not what its description says: {size} bytes.")
