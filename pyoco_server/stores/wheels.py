"""The object store of the wheels, and the bucket of their history.

Source: contract, section 2, "Wheel objects".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.object_documents import Content, ObjectInfo
from pyoco_server.bridge.objects import ObjectStore
from pyoco_server.bridge.streams import subjects_of
from pyoco_server.bridge.translate import STORAGE_FULL, STREAM_FULL
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.wheels import WheelEntry, WheelEvent, read_event, tags_of
from pyoco_server.errors import BusError, KeyMissing, TooLarge, WheelNotFound

#: Events that are read at a time, newest first, until as many are found as are asked for.
_EVENTS_AT_A_TIME = 100


@dataclass(frozen=True)
class StoredWheel:
    """A wheel in the registry, or an object that somebody else has put there."""

    info: ObjectInfo

    @property
    def tags(self) -> list[str]:
        return tags_of(self.info.headers)

    def to_document(self) -> WheelEntry:
        """Give the entry as it is listed."""
        info = self.info
        return {
            "name": info.name,
            "size_bytes": info.size,
            "bucket": info.bucket,
            "nuid": info.nuid,
            "modified": info.modified_at,
            "mtime": info.mtime,
            "digest": info.digest,
            "sha256_b64": info.sha256_b64,
            "sha256_hex": info.sha256_hex,
            "tags": self.tags,
        }


class WheelStore:
    """Reads and writes wheels."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self._objects = ObjectStore(bus, config.wheel_object_store_bucket)

    def revision(self) -> int:
        """Give a number that changes with every upload and delete.

        :raises BusUnavailable: no answer.
        """
        return self._objects.revision()

    def list(self) -> tuple[list[StoredWheel], int]:
        """Read all entries, by name, and the revision that they have.

        :raises BusUnavailable: no answer.
        """
        listing = self._objects.list()
        return [StoredWheel(info) for info in listing.objects], listing.revision

    def get(self, name: str) -> StoredWheel:
        """Read one entry.

        :raises WheelNotFound: there is none.
        :raises BusUnavailable: no answer.
        """
        try:
            return StoredWheel(self._objects.get(name))
        except KeyMissing as exc:
            raise WheelNotFound(name) from exc

    def store(self, stream: IO[bytes]) -> Content:
        """Store the bytes of a wheel, which is not listed before :meth:`publish`.

        :raises TooLarge: the registry is full.
        :raises BusUnavailable: not confirmed.
        """
        try:
            return self._objects.store(stream)
        except BusError as exc:
            if exc.err_code in (STREAM_FULL, STORAGE_FULL):
                raise TooLarge(f"The registry has no room for this wheel: delete older ones. {exc}") from exc
            raise

    def discard(self, content: Content) -> None:
        """Remove bytes that were not published."""
        self._objects.discard(content.nuid)

    def discard_unlisted(self) -> int:
        """Remove what uploads have left that ended in between; gives how many.

        :raises RevisionConflict: the list has changed meanwhile; nothing was removed.
        :raises BusUnavailable: no answer.
        """
        return self._objects.discard_unlisted()

    def forget_deleted(self) -> None:
        """Remove what tells of wheels that were deleted long ago.

        :raises BusUnavailable: no answer; safe to repeat.
        """
        self._objects.forget_deleted()

    def publish(self, name: str, content: Content, headers: Mapping[str, str], *, revision: int) -> StoredWheel:
        """List a wheel, unless any upload or delete has come since ``revision``.

        :raises RevisionConflict: one has.
        :raises BusUnavailable: not confirmed.
        """
        return StoredWheel(self._objects.publish(name, content, headers, revision=revision))

    def delete(self, wheel: StoredWheel) -> None:
        """Delete a wheel as it was read.

        :raises RevisionConflict: it was changed meanwhile.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        self._objects.delete(wheel.info)

    def chunks(self, wheel: StoredWheel) -> Iterator[bytes]:
        """Read the bytes of a wheel, piece by piece, and verify them.

        :raises WheelNotFound: it was deleted meanwhile.
        :raises BusError: it is damaged.
        :raises BusUnavailable: no answer.
        """
        try:
            yield from self._objects.chunks(wheel.info)
        except KeyMissing as exc:
            raise WheelNotFound(wheel.info.name) from exc


class WheelHistory:
    """What was done with wheels; NATS forgets it after a while."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self._bus = bus
        self._bucket = config.wheel_history_kv_bucket
        self._stream = names.bucket_stream(config.wheel_history_kv_bucket)

    def add(self, event: WheelEvent) -> None:
        """Store an event.

        :raises BusUnavailable: not confirmed.
        """
        self._bus.write(Write(names.key_subject(self._bucket, event.key), event.to_bytes(), expected_revision=0))

    def newest(self, limit: int, *, wheel_name: str | None = None, action: str | None = None) -> list[dict[str, Any]]:
        """Read events, newest first.

        :raises BusUnavailable: no answer.
        """
        found: list[dict[str, Any]] = []
        # Keys begin with the time.
        pattern = names.key_subject(self._bucket, ">")
        subjects = sorted(subjects_of(self._bus, self._stream, pattern), reverse=True)
        for start in range(0, len(subjects), _EVENTS_AT_A_TIME):
            for stored in self._bus.last_of_each(self._stream, subjects[start : start + _EVENTS_AT_A_TIME]):
                try:
                    event = read_event(stored.payload) if stored is not None else None
                except ValueError:
                    continue
                if event is None or (wheel_name or event["wheel_name"]) != event["wheel_name"]:
                    continue
                if (action or event.get("action")) == event.get("action"):
                    found.append(event)
            if len(found) >= limit:
                break
        return found[:limit]
