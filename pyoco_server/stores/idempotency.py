"""The bucket of idempotency keys: which run a key stands for, written once and never changed.

Source: design, section 4.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.errors import BusError, RevisionConflict


@dataclass(frozen=True)
class KeyedRun:
    """What is known of a key.

    :param digest: hash of the request that the key was first sent with.
    """

    run_id: str
    digest: str


class IdempotencyStore:
    """Maps keys to runs; a key belongs to its tenant."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def claim(self, tenant_id: str | None, key: str, wanted: KeyedRun) -> KeyedRun:
        """Have a key stand for a run, unless it stands for one already.

        :return: the run that the key stands for from now on: of any number of callers all get the same.
        :raises BusUnavailable: not confirmed; safe to repeat.
        """
        subject = names.key_subject(names.IDEMPOTENCY_BUCKET, _name_of(tenant_id, key))
        payload = json.dumps(vars(wanted)).encode()
        try:
            self._bus.write(Write(subject, payload, expected_revision=0))
            return wanted
        except RevisionConflict:
            stored = self._bus.last(names.bucket_stream(names.IDEMPOTENCY_BUCKET), subject)
        try:
            document = json.loads(stored.payload)
            return KeyedRun(document["run_id"], document["digest"])
        except (ValueError, KeyError, TypeError) as exc:
            raise BusError(f"The bucket {names.IDEMPOTENCY_BUCKET} holds something that is not ours.") from exc


def _name_of(tenant_id: str | None, key: str) -> str:
    # By its hash: a key may hold what the name of a KV key may not, and a tenant's name holds no line end.
    return hashlib.sha256(f"{tenant_id or ''}\n{key}".encode()).hexdigest()
