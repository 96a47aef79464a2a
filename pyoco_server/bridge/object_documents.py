"""Descriptions of objects in an object store of NATS, as every client of NATS reads and writes them.

Source: ADR-20 (object store).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyoco_server.bridge.answers import unix_seconds
from pyoco_server.bridge.messages import Stored

DIGEST = "SHA-256="


@dataclass(frozen=True)
class ObjectInfo:
    """The description of an object.

    :param nuid: names the content; another one whenever the object is written again.
    :param modified_at: when it was written, unix seconds.
    :param mtime: the same as the writer had it, a text.
    :param chunks: pieces of the content; 0 where whoever wrote it did not count them.
    :param revision: sequence of the description.
    """

    name: str
    bucket: str
    nuid: str
    size: int
    chunks: int
    mtime: str
    modified_at: float
    digest: str
    headers: Mapping[str, str]
    is_deleted: bool
    revision: int

    @property
    def sha256_hex(self) -> str:
        """Hash of the content; empty where whoever wrote it gave none."""
        encoded = self.digest.removeprefix(DIGEST)
        try:
            return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).hex()
        except (binascii.Error, ValueError):
            return ""

    @property
    def sha256_b64(self) -> str:
        return self.digest.removeprefix(DIGEST)


@dataclass(frozen=True)
class Content:
    """Content that was stored and does not belong to an object yet.

    :param begun_at: before its first piece, by the server's clock; 0 where nobody will ask.
    """

    begun_at: float
    nuid: str
    size: int
    chunks: int
    digest: bytes


def readable(stored: Stored) -> ObjectInfo | None:
    """Read a description; ``None`` for what is none."""
    try:
        document = json.loads(stored.payload)
        if not isinstance(document, dict):
            return None
        return described(document, stored.seq, stored.stored_at)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def described(document: dict[str, Any], revision: int, stored_at: float) -> ObjectInfo:
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
        chunks=int(document.get("chunks") or 0),
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
