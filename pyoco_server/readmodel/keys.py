"""The records of the API keys, in memory, in step with their bucket.

Not in SQLite: the read model may be a file, and no hash of a key belongs into one.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from pyoco_server.bridge.messages import Change
from pyoco_server.contract import names
from pyoco_server.contract.keys import ENTRY_PREFIX, KeyRecord, is_tenant

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownKey:
    """A record as it is now.

    :param edition: a number that no other record of this process has, nor an earlier state of this one.
    """

    record: KeyRecord
    edition: int


class KeyTable:
    """Fed by one follower, read by many threads; see :class:`pyoco_server.readmodel.follower.Table`.

    :param changed: called after every change, and when the table has become complete again.
    """

    def __init__(self, bucket: str, changed: Callable[[], None]) -> None:
        #: What a follower has to follow.
        self.subject = names.key_subject(bucket, f"{ENTRY_PREFIX}.*")
        self._prefix = names.key_subject(bucket, f"{ENTRY_PREFIX}.")
        self._changed = changed
        self._editions = itertools.count()
        self._position = ("", 0)
        #: By key id. Readers need no lock: each change is one step of a dictionary.
        self._known: dict[str, KnownKey] = {}
        self.is_complete = False

    def get(self, key_id: str) -> KnownKey | None:
        """Give a key's record; whether it is the newest, :attr:`is_complete` says."""
        return self._known.get(key_id)

    def position(self) -> tuple[str, int]:
        return self._position

    def restart(self, created: str) -> None:
        self._known.clear()
        self._position = (created, 0)
        self._changed()

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._apply_one(change)
        self._position = (self._position[0], changes[-1].seq)
        self._changed()

    def settle(self) -> Iterator[None]:
        return iter(())

    def set_complete(self, is_complete: bool) -> None:
        has_become_complete = is_complete and not self.is_complete
        self.is_complete = is_complete
        if has_become_complete:
            self._changed()

    def subjects(self) -> set[str]:
        return {self._prefix + key_id for key_id in self._known}

    def forget(self, subjects: Collection[str]) -> None:
        for subject in subjects:
            self._known.pop(subject.removeprefix(self._prefix), None)
        self._changed()

    def _apply_one(self, change: Change) -> None:
        key_id = change.subject.removeprefix(self._prefix)
        try:
            record = None if change.is_removal else KeyRecord.from_bytes(change.payload)
            if record is not None and (record.key_id != key_id or not is_tenant(record.tenant_id)):
                raise ValueError("its key_id is another, or its tenant_id is none")
        except (ValueError, RecursionError) as exc:
            logger.warning("the record of API key %s is not valid, so the key is refused: %s", key_id, exc)
            record = None
        if record is None:
            self._known.pop(key_id, None)
        else:
            self._known[key_id] = KnownKey(record, next(self._editions))
