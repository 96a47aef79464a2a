"""Object stores of NATS, as every client of NATS reads and writes them, in bounded memory and with deadlines.

An object is a description under a subject made of its name, and its content in pieces under a subject of its own.
The description is written last and by compare-and-set, so an object is there as a whole or not at all.

Source: ADR-20 (object store).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, Any

from pyoco_server.bridge.answers import unix_seconds
from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Stored, Write
from pyoco_server.bridge.streams import subjects_of
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
_DIGEST = "SHA-256="


@dataclass(frozen=True)
class ObjectInfo:
    """The description of an object.

    :param nuid: names the content; another one whenever the object is written again.
    :param modified_at: when it was written, unix seconds.
    :param mtime: the same as the writer had it, a text.
    :param revision: sequence of the description.
    """

    name: str
    bucket: str
    nuid: str
    size: int
    mtime: str
    modified_at: float
    digest: str
    headers: Mapping[str, str]
    is_deleted: bool
    revision: int

    @property
    def sha256_hex(self) -> str:
        """Hash of the content; empty where whoever wrote it gave none."""
        encoded = self.digest.removeprefix(_DIGEST)
        try:
            return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
        except (binascii.Error, ValueError):
            return ""

    @property
    def sha256_b64(self) -> str:
        return self.digest.removeprefix(_DIGEST)


@dataclass(frozen=True)
class Listing:
    """The objects of a store at one moment.

    :param revision: sequence of the newest description, of deleted ones too; 0 = there was never an object.
    """

    objects: list[ObjectInfo]
    revision: int


@dataclass(frozen=True)
class Content:
    """Content that was stored and does not belong to an object yet.

    :param begun_at: before its first piece, by the server's clock.
    """

    begun_at: float
    nuid: str
    size: int
    chunks: int
    digest: bytes


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
        known = [info for info in map(_readable, self._descriptions()) if info is not None and not info.is_deleted]
        return Listing(sorted(known, key=lambda info: info.name), revision)

    def get(self, name: str) -> ObjectInfo:
        """Read the description of an object.

        :raises KeyMissing: there is none, or it was deleted.
        :raises BusUnavailable: no answer.
        """
        info = _readable(self._bus.last(self._stream, names.object_subject(self._bucket, name)))
        if info is None or info.is_deleted:
            raise KeyMissing(f"There is no object {name}.")
        return info

    def store(self, stream: IO[bytes]) -> Content:
        """Store content, piece by piece; it belongs to no object before :meth:`publish`.

        :param stream: read from where it stands to its end.
        :raises BusError: no room; nothing is left behind.
        :raises BusUnavailable: not confirmed; what was stored is removed as far as that is possible.
        """
        nuid, digest, size, count = uuid.uuid4().hex, hashlib.sha256(), 0, 0
        subject = names.chunk_subject(self._bucket, nuid)
        begun_at = self._bus.server_time(self._stream)
        try:
            while chunk := stream.read(min(CHUNK_BYTES, self._bus.max_payload_bytes // 2)):
                # By its id: a piece that is sent again, because its answer was lost, is stored once.
                self._bus.write(Write(subject, chunk, msg_id=f"{nuid}.{count}"))
                digest.update(chunk)
                size += len(chunk)
                count += 1
        except BaseException:
            self.discard(nuid)
            raise
        return Content(begun_at, nuid, size, count, digest.digest())

    def publish(self, name: str, content: Content, headers: Mapping[str, str], *, revision: int) -> ObjectInfo:
        """Make an object of stored content, unless anything in the store has changed since ``revision``.

        :param revision: that of a listing.
        :raises RevisionConflict: something has; the content is kept.
        :raises BusUnavailable: not confirmed, or so long after the content was stored that it may be removed.
        """
        # After the revision was read: see discard_unlisted. Half of it, because clocks of two servers may differ.
        if self._bus.server_time(self._stream) - content.begun_at >= UNLISTED_SEC / 2:
            raise BusUnavailable(f"{name} took too long to be stored. Send it again.")
        document = {
            **self._document(name, content.nuid, headers),
            "size": content.size,
            "mtime": datetime.now(timezone.utc).isoformat(),
            "chunks": content.chunks,
            "digest": _DIGEST + base64.urlsafe_b64encode(content.digest).decode(),
        }
        return _described(document, self._describe(document, revision), stored_at=0.0)

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
            info = _readable(stored)
            is_old = stored.seq < revision and now - stored.stored_at >= UNLISTED_SEC
            if info is not None and info.is_deleted and is_old:
                # Up to its own sequence: what is written meanwhile stays.
                self._bus.api(f"STREAM.PURGE.{self._stream}", {"filter": stored.subject, "seq": stored.seq + 1})
                count += 1
        return count

    def discard(self, nuid: str) -> None:
        """Remove content that belongs to no object (any more); where that fails it takes room for an hour."""
        try:
            self._bus.api(f"STREAM.PURGE.{self._stream}", {"filter": names.chunk_subject(self._bucket, nuid)})
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


def _readable(stored: Stored) -> ObjectInfo | None:
    """Read a description; ``None`` for what is none."""
    try:
        document = json.loads(stored.payload)
        if not isinstance(document, dict):
            return None
        return _described(document, stored.seq, stored.stored_at)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _described(document: dict[str, Any], revision: int, stored_at: float) -> ObjectInfo:
    mtime = str(document.get("mtime") or "")
    try:
        modified_at = unix_seconds(mtime)
    except ValueError:
        modified_at = stored_at
    return ObjectInfo(
        name=str(document["name"]),
        bucket=str(document["bucket"]),
        nuid=str(document["nuid"]),
        size=int(document.get("size") or 0),
        mtime=mtime,
        modified_at=modified_at,
        digest=str(document.get("digest") or ""),
        headers={str(name): _header(value) for name, value in (document.get("headers") or {}).items()},
        is_deleted=bool(document.get("deleted")),
        revision=revision,
    )


def _header(value: Any) -> str:
    # Clients in other languages write a list of values.
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
