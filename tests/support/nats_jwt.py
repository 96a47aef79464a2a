"""A NATS that knows its users by JWT, as ``nsc`` sets it up: an operator, an account, a user's file of credentials.

Source: NATS documentation, "Decentralized JWT authentication"; ADR-14.
"""

from __future__ import annotations

import base64
import json
import os
import time
import uuid
from typing import Any

import nkeys

_UNLIMITED = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
_JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


def new_pair(kind: int) -> tuple[str, str]:
    """Make an NKey; gives seed and public key."""
    seed: bytes = nkeys.encode_seed(os.urandom(32), kind)
    return seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode()


def new_user() -> tuple[str, str]:
    """Make the NKey of a user; gives seed and public key."""
    return new_pair(nkeys.PREFIX_BYTE_USER)


def operator_setup() -> tuple[str, str]:
    """Give the lines for nats-server, and the file of credentials of its only user."""
    operator_seed, operator = new_pair(nkeys.PREFIX_BYTE_OPERATOR)
    account_seed, account = new_pair(nkeys.PREFIX_BYTE_ACCOUNT)
    _, system = new_pair(nkeys.PREFIX_BYTE_ACCOUNT)
    user_seed, user = new_user()
    limits = {**_UNLIMITED, "wildcards": True}
    operator_jwt = _jwt(operator_seed, operator, operator, {"type": "operator", "system_account": system})
    account_jwt = _jwt(operator_seed, operator, account, {"type": "account", "limits": {**limits, **_JETSTREAM}})
    system_jwt = _jwt(operator_seed, operator, system, {"type": "account", "limits": limits})
    user_jwt = _jwt(account_seed, account, user, {"type": "user", "subs": -1, "data": -1, "payload": -1})
    conf = (
        f"operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {account}: {account_jwt}, {system}: {system_jwt} }}\n"
    )
    credentials = (
        f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user_seed}\n------END USER NKEY SEED------\n"
    )
    return conf, credentials


def _jwt(issuer_seed: str, issuer: str, subject: str, nats: dict[str, Any]) -> str:
    claims = {"jti": uuid.uuid4().hex, "iat": int(time.time()), "iss": issuer, "name": "test", "sub": subject}
    claims["nats"] = {**nats, "version": 2}
    parts = [_text({"typ": "JWT", "alg": "ed25519-nkey"}), _text(claims)]
    signature = nkeys.from_seed(bytearray(issuer_seed.encode())).sign(".".join(parts).encode())
    return ".".join([*parts, _base64(signature)])


def _text(document: dict[str, Any]) -> str:
    return _base64(json.dumps(document).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
