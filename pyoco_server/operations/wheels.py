"""The wheel registry: what may come in, and what was done with it.

Source: contract, section 3, rows ``/wheels``; design, section 10.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from packaging.version import Version

from pyoco_server.bridge.object_documents import Content
from pyoco_server.contract import wheels
from pyoco_server.contract.wheels import Actor, Source, WheelEvent, WheelName, wheel_headers
from pyoco_server.errors import (
    BusError,
    BusTimeout,
    BusUnavailable,
    InvalidInput,
    RevisionConflict,
    TooLarge,
    WheelConflict,
)
from pyoco_server.service import Deadline
from pyoco_server.stores.wheels import StoredWheel, WheelHistory, WheelStore
from pyoco_server.wheelfile.check import check_wheel

logger = logging.getLogger(__name__)

#: How long an upload goes on competing with others; each of them that wins makes it look at the list once more.
_COMPETE_SEC = 30.0


@dataclass(frozen=True)
class Upload:
    """A wheel that somebody sends.

    :param stream: its bytes; a seekable file.
    :param replace: kept in the history and of no other effect: no version is ever replaced.
    """

    name: WheelName
    stream: IO[bytes]
    size_bytes: int
    tags: list[str]
    replace: bool
    actor: Actor
    source: Source


class WheelRegistry:
    """Takes wheels in, gives them out, deletes them.

    :param max_bytes: the largest wheel.
    """

    def __init__(self, store: WheelStore, history: WheelHistory, *, max_bytes: int) -> None:
        self._store = store
        self._history = history
        self._max_bytes = max_bytes

    def list(self) -> list[StoredWheel]:
        """Read all entries, by name.

        :raises BusUnavailable: no answer.
        """
        return self._store.list()[0]

    def open(self, name: str) -> tuple[StoredWheel, Iterator[bytes]]:
        """Read an entry and its bytes, piece by piece.

        :raises WheelNotFound: there is none; also from the iterator, when it was deleted meanwhile.
        :raises BusUnavailable: no answer; as before.
        """
        wheel = self._store.get(name)
        return wheel, self._store.chunks(wheel)

    def events(self, limit: int, wheel_name: str | None, action: str | None) -> Sequence[dict[str, Any]]:
        """Read the history, newest first.

        :raises BusUnavailable: no answer.
        """
        return self._history.newest(limit, wheel_name=wheel_name, action=action)

    def upload(self, upload: Upload) -> StoredWheel:
        """Take a wheel in, if it is newer than every version of its package and sound.

        Of several that come at the same time, one is listed, and the others are judged anew against it.

        :raises TooLarge: it is larger than the limit, or the registry is full.
        :raises WheelConflict: the package has this version or a newer one.
        :raises WheelInvalid: says what is wrong.
        :raises BusUnavailable: not confirmed; look before you repeat it.
        """
        if upload.size_bytes > self._max_bytes:
            raise TooLarge(
                f"{upload.name.file_name} has {upload.size_bytes} bytes, and this gateway takes {self._max_bytes} at "
                "most (PYOCO_WHEEL_MAX_BYTES)."
            )
        revision = self._judge_version(upload.name)
        check_wheel(upload.stream, upload.name)
        upload.stream.seek(0)
        content = self._store.store(upload.stream)
        try:
            stored = self._publish(upload, content, revision)
        except BusTimeout:
            # It may be listed, so its content has to stay.
            raise
        except BaseException:
            self._store.discard(content)
            raise
        self._note(stored, wheels.UPLOAD, upload.replace, upload.actor, upload.source)
        return stored

    def delete(self, name: str, actor: Actor, source: Source) -> None:
        """Delete a wheel.

        :raises WheelNotFound: there is none.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        while True:
            wheel = self._store.get(name)
            try:
                self._store.delete(wheel)
                break
            except RevisionConflict:
                continue
        self._note(wheel, wheels.DELETE, None, actor, source)

    def clean(self) -> None:
        """Remove what uploads and deletes leave behind; to be called now and then, by any gateway.

        :raises BusUnavailable: no answer; the next call goes on.
        """
        self._store.forget_deleted()
        try:
            count = self._store.discard_unlisted()
        except RevisionConflict:
            # Somebody uploads or deletes at this moment: the next call finds what is left.
            return
        if count:
            logger.warning("removed the content of %d wheels whose uploads had ended half-way", count)

    def _publish(self, upload: Upload, content: Content, revision: int) -> StoredWheel:
        headers = wheel_headers(content.digest.hex(), upload.tags)
        deadline = Deadline(_COMPETE_SEC)
        while not deadline.has_passed:
            try:
                return self._store.publish(upload.name.file_name, content, headers, revision=revision)
            except RevisionConflict:
                revision = self._judge_version(upload.name)
        raise BusUnavailable(f"Too many others change the registry: {upload.name.file_name} is not stored. Try again.")

    def _judge_version(self, name: WheelName) -> int:
        """Compare a version with those in the registry; give the revision of the list that was looked at.

        :raises WheelConflict: it is not the newest.
        """
        listed, revision = self._store.list()
        newest = max(_versions(listed, name.package), default=None)
        if newest is not None and name.version <= newest:
            raise WheelConflict(
                f"The registry has {name.package} {newest}, so {name.version} cannot be uploaded: each version must be "
                "newer than all before."
            )
        return revision

    def _note(self, wheel: StoredWheel, action: str, replace: bool | None, actor: Actor, source: Source) -> None:
        info = wheel.info
        event = WheelEvent(
            time.time(), action, info.name, wheel.tags, info.size, info.sha256_hex, replace, actor, source
        )
        try:
            self._history.add(event)
        except (BusError, BusUnavailable) as exc:
            # It has been done, and the client must not be told otherwise.
            logger.error("the history lacks the %s of %s: %s", action, info.name, exc)


def _versions(listed: Sequence[StoredWheel], package: str) -> Iterator[Version]:
    """Give the versions of a package; what is no wheel has none."""
    for wheel in listed:
        try:
            name = WheelName.parse(wheel.info.name)
        except InvalidInput:
            continue
        if name.package == package:
            yield name.version
