"""The bucket of the API keys.

Source: contract, section 2, "API-key record".
"""

from __future__ import annotations

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.streams import subjects_of
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.keys import ENTRY_PREFIX, KeyRecord
from pyoco_server.errors import KeyMissing, ResourceMissing, RevisionConflict


class KeyStore:
    """Reads and writes the records of API keys; a bucket that is missing holds none."""

    def __init__(self, bus: Bus, config: Config) -> None:
        self._bus = bus
        self._bucket = config.auth_kv_bucket
        self._stream = names.bucket_stream(config.auth_kv_bucket)

    def create(self, record: KeyRecord) -> None:
        """Store the record of a new key.

        :raises ResourceMissing: there is no bucket.
        :raises RevisionConflict: there is a key of this id.
        :raises BusUnavailable: not confirmed; nobody knows the secret, so make another key.
        """
        self._bus.write(Write(self._subject(record.key_id), record.to_bytes(), expected_revision=0))

    def revoke(self, key_id: str, *, now: float) -> KeyRecord | None:
        """Have a key refused from now on; one that is revoked already keeps its time.

        :return: the record as it is stored now; ``None`` when there is no such key.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        while True:
            record, revision = self._read(self._subject(key_id))
            if record is None:
                return None
            revoked = record.revoked(now)
            if revoked == record:
                return record
            try:
                self._bus.write(Write(self._subject(key_id), revoked.to_bytes(), expected_revision=revision))
                return revoked
            except RevisionConflict:
                continue

    def all(self) -> list[KeyRecord]:
        """Read the records of all keys, newest first.

        :raises BusUnavailable: no answer.
        """
        records = [self._read(subject)[0] for subject in self._subjects()]
        known = [record for record in records if record is not None]
        return sorted(known, key=lambda record: (record.created_at, record.key_id), reverse=True)

    def _subject(self, key_id: str) -> str:
        return names.key_subject(self._bucket, f"{ENTRY_PREFIX}.{key_id}")

    def _subjects(self) -> list[str]:
        try:
            return list(subjects_of(self._bus, self._stream, self._subject("*")))
        except ResourceMissing:
            return []

    def _read(self, subject: str) -> tuple[KeyRecord | None, int]:
        try:
            stored = self._bus.last(self._stream, subject)
        except (KeyMissing, ResourceMissing):
            return None, 0
        try:
            return KeyRecord.from_bytes(stored.payload), stored.seq
        except ValueError:
            # A tombstone, or something that no gateway accepts as a key.
            return None, stored.seq
