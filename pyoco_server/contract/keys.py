"""API keys: the plain key that its holder gets once, and the record that is kept of it.

Source: contract, section 2, "API-key record".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

#: What stands before the key id in the bucket of the keys.
ENTRY_PREFIX = "api_keys"

KDF = "pbkdf2_hmac_sha256"
#: 0.5.1 writes this many; a record says how many were used for it.
ITERATIONS = 200_000
#: A record that asks for more is not answered: each try would hold a thread for long.
_MAX_ITERATIONS = 10_000_000
_HASH_BYTES = 32
_SALT_BYTES = 16
_KEY_ID_BYTES = 8
_SECRET_BYTES = 32

_TENANT_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{8,64}")
_KEY_PATTERN = re.compile(r"pyoco_([A-Za-z0-9_-]{8,64})\.([A-Za-z0-9_-]{16,256})")


def is_tenant(text: str) -> bool:
    """Say whether ``text`` can name a tenant."""
    return _TENANT_PATTERN.fullmatch(text) is not None


def is_key_id(text: str) -> bool:
    """Say whether ``text`` can be the id of a key."""
    return _KEY_ID_PATTERN.fullmatch(text) is not None


@dataclass(frozen=True)
class ApiKey:
    """A key as its holder knows it; the secret is nowhere else."""

    key_id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The key as it is sent with each request."""
        return f"pyoco_{self.key_id}.{self.secret}"

    @classmethod
    def generate(cls) -> ApiKey:
        """Make a new key out of the system's randomness."""
        # Hexadecimal: an id that begins with "-" would read as a flag after --key-id.
        return cls(secrets.token_hex(_KEY_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> ApiKey | None:
        """Read a key; ``None`` when ``text`` is none."""
        match = _KEY_PATTERN.fullmatch(text)
        return None if match is None else cls(match[1], match[2])


@dataclass(frozen=True)
class KeyRecord:
    """What is stored of a key; ``extra`` keeps what other programs wrote.

    A limited key hashes its limits with its secret. 0.5.1 knows no limits and would grant everything; so it finds that
    the secret is wrong, as does a gateway of ours that is shown a record whose limits were changed.

    :param revoked_at: since when the key is not accepted any more, unix seconds.
    :param is_read_only: whether the key may only read (ours; ``read_only`` in the record).
    :param expires_at: from when on the key is not accepted any more, unix seconds (ours); ``None`` = never.
    """

    key_id: str
    tenant_id: str
    kdf: str
    iterations: int
    salt_b64: str
    hash_b64: str
    created_at: float
    revoked_at: float | None = None
    is_read_only: bool = False
    expires_at: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        key: ApiKey,
        tenant_id: str,
        *,
        pepper: str,
        now: float,
        is_read_only: bool = False,
        expires_at: float | None = None,
    ) -> KeyRecord:
        """Make the record of a new key.

        :param pepper: what every gateway must know, too, to accept the key (``PYOCO_AUTH_PEPPER``).
        """
        salt = secrets.token_bytes(_SALT_BYTES)
        password = _password(key.secret, pepper, _limits(is_read_only, expires_at))
        return cls(
            key_id=key.key_id,
            tenant_id=tenant_id,
            kdf=KDF,
            iterations=ITERATIONS,
            salt_b64=_to_text(salt),
            hash_b64=_to_text(hashlib.pbkdf2_hmac("sha256", password, salt, ITERATIONS, _HASH_BYTES)),
            created_at=now,
            is_read_only=is_read_only,
            expires_at=expires_at,
        )

    @property
    def limits(self) -> dict[str, Any]:
        """What the key is limited to, as it stands in the record; empty for a key that may do everything for ever."""
        return _limits(self.is_read_only, self.expires_at)

    def is_accepted(self, now: float) -> bool:
        """Say whether whoever has the secret is let in at this moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def fits(self, secret: str, pepper: str) -> bool:
        """Say whether this is the secret; takes a tenth of a second of a processor, which is its purpose."""
        if self.kdf != KDF or not 1 <= self.iterations <= _MAX_ITERATIONS:
            return False
        try:
            salt, expected = _to_data(self.salt_b64), _to_data(self.hash_b64)
        except ValueError:
            return False
        password = _password(secret, pepper, self.limits)
        found = hashlib.pbkdf2_hmac("sha256", password, salt, self.iterations, _HASH_BYTES)
        return hmac.compare_digest(found, expected)

    def revoked(self, now: float) -> KeyRecord:
        """Give the record of the key once it is revoked; the first time stands."""
        return self if self.revoked_at is not None else replace(self, revoked_at=now)

    def to_bytes(self) -> bytes:
        known = {name: getattr(self, name) for name in _TYPES}
        return json.dumps({**self.extra, **known, **self.limits}).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> KeyRecord:
        """Decode a stored record.

        :raises ValueError: not the record of a key.
        """
        document = json.loads(payload)
        if not isinstance(document, dict):
            raise ValueError("the record of an API key must be a JSON object")
        known = {name: document.pop(name, None) for name in _TYPES}
        is_read_only, expires_at = document.pop("read_only", False), document.pop("expires_at", None)
        for name, types in _TYPES.items():
            if not isinstance(known[name], types):
                raise ValueError(f"the record of an API key has no valid {name}")
        if not isinstance(is_read_only, bool):
            raise ValueError("the record of an API key has no valid read_only")
        if expires_at is not None and not (type(expires_at) in _NUMBER and math.isfinite(expires_at)):
            raise ValueError("the record of an API key has no valid expires_at")
        return cls(**known, is_read_only=is_read_only, expires_at=expires_at, extra=document)


def _limits(is_read_only: bool, expires_at: float | None) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if expires_at is not None:
        # 1767225600 and 1767225600.0 are one moment, and must give one hash.
        limits["expires_at"] = float(expires_at)
    if is_read_only:
        limits["read_only"] = True
    return limits


def _password(secret: str, pepper: str, limits: dict[str, Any]) -> bytes:
    """Give what is hashed: secret and pepper, as in 0.5.1, and behind them the canonical JSON of limits."""
    canonical = json.dumps(limits, sort_keys=True, separators=(",", ":")) if limits else ""
    return (secret + pepper + canonical).encode()


_NUMBER = (int, float)
#: What each field of a stored record may be.
_TYPES: dict[str, tuple[type, ...]] = {
    "key_id": (str,),
    "tenant_id": (str,),
    "kdf": (str,),
    "iterations": (int,),
    "salt_b64": (str,),
    "hash_b64": (str,),
    "created_at": _NUMBER,
    "revoked_at": (*_NUMBER, type(None)),
}


def _to_text(data: bytes) -> str:
    """Write bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _to_data(text: str) -> bytes:
    """Read base64url, with or without padding.

    :raises ValueError: it is none.
    """
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
