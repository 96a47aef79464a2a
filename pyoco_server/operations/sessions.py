"""Sessions of browsers: a key is shown once, and a signed word of it stands for it for some hours.

A session is kept nowhere. Any gateway can check it, because it is signed with the hash in the key's record and with the
pepper; the key's revocation ends it, and so does every change of the record.

Source: design, section 11.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from pyoco_server.contract.keys import KeyRecord

#: How long a session lasts, seconds.
SESSION_SEC = 12 * 3_600


@dataclass(frozen=True)
class Session:
    """A session as it was sent; nothing of it is proven.

    :param expires_at: whole unix seconds.
    """

    key_id: str
    expires_at: int
    signature: str

    @classmethod
    def parse(cls, text: str) -> Session | None:
        """Read a session; ``None`` when it is none."""
        key_id, _, rest = text.partition(".")
        expires_at, _, signature = rest.partition(".")
        if not (expires_at.isascii() and expires_at.isdigit() and len(expires_at) < 12 and signature.isascii()):
            return None
        return cls(key_id, int(expires_at), signature)

    @classmethod
    def of(cls, record: KeyRecord, expires_at: int, *, pepper: str) -> Session:
        return cls(record.key_id, expires_at, _signature(record, expires_at, pepper))

    def __str__(self) -> str:
        return f"{self.key_id}.{self.expires_at}.{self.signature}"

    def is_of(self, record: KeyRecord, now: float, *, pepper: str) -> bool:
        """Say whether it was signed with this record and has not expired."""
        expected = _signature(record, self.expires_at, pepper)
        return now < self.expires_at and hmac.compare_digest(self.signature, expected)


def _signature(record: KeyRecord, expires_at: int, pepper: str) -> str:
    # With the pepper, so that a copy of the bucket is no use for forging either.
    secret = f"{record.hash_b64}.{pepper}".encode()
    message = f"session.{record.key_id}.{expires_at}".encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()
