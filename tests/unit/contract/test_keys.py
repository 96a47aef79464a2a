"""API keys: the text that users hold, and the record that a gateway checks it against."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
from typing import Any

import pytest

from pyoco_server.contract.keys import ApiKey, KeyRecord, is_key_id, is_tenant

KEY = ApiKey("0123456789abcdef", "s3cret-s3cret_s3cret")


def bytes_of(text: str) -> bytes:
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pbkdf2_first_block(password: bytes, salt: bytes, iterations: int) -> bytes:
    """PBKDF2-HMAC-SHA256 as RFC 8018, section 5.2, has it, for a result of one block (32 bytes)."""
    block = hmac.digest(password, salt + b"\0\0\0\1", hashlib.sha256)
    result = int.from_bytes(block, "big")
    for _ in range(iterations - 1):
        block = hmac.digest(password, block, hashlib.sha256)
        result ^= int.from_bytes(block, "big")
    return result.to_bytes(32, "big")


@pytest.mark.parametrize("pepper", ["", "pépper "])
def test_the_hash_is_pbkdf2_of_secret_and_pepper(pepper: str) -> None:
    stored = json.loads(KeyRecord.of(KEY, "acme", pepper=pepper, now=1000.5).to_bytes())
    password = ("s3cret-s3cret_s3cret" + pepper).encode("utf-8")
    expected = pbkdf2_first_block(password, bytes_of(stored["salt_b64"]), 200_000)
    assert bytes_of(stored["hash_b64"]) == expected


def test_a_record_has_the_fields_of_the_contract_and_not_the_secret() -> None:
    payload = KeyRecord.of(KEY, "acme", pepper="p", now=1000.5).to_bytes()
    stored = json.loads(payload)
    assert stored.pop("salt_b64") and stored.pop("hash_b64")
    assert stored == {
        "key_id": "0123456789abcdef",
        "tenant_id": "acme",
        "kdf": "pbkdf2_hmac_sha256",
        "iterations": 200_000,
        "created_at": 1000.5,
        "revoked_at": None,
    }
    assert KEY.secret.encode() not in payload


def test_a_limited_record_hashes_its_limits_too_so_that_0_5_1_refuses_it() -> None:
    stored = json.loads(KeyRecord.of(KEY, "acme", pepper="p", now=1.0, is_read_only=True, expires_at=2000).to_bytes())
    password = b's3cret-s3cret_s3cretp{"expires_at":2000.0,"read_only":true}'
    assert bytes_of(stored["hash_b64"]) == pbkdf2_first_block(password, bytes_of(stored["salt_b64"]), 200_000)
    assert (stored["read_only"], stored["expires_at"]) == (True, 2000.0)


@pytest.mark.parametrize("limits", [{}, {"is_read_only": True}, {"expires_at": 2000}, {"expires_at": 2000.5}])
def test_a_stored_record_fits_its_secret_and_no_other(limits: dict[str, Any]) -> None:
    record = KeyRecord.of(KEY, "acme", pepper="p", now=1.0, **limits)
    stored = KeyRecord.from_bytes(record.to_bytes())
    assert stored.limits == record.limits
    assert stored.fits(KEY.secret, "p")
    assert not stored.fits(KEY.secret + "x", "p")
    assert not stored.fits(KEY.secret, "another")


@pytest.mark.parametrize(
    "change",
    [
        {"read_only": False},
        {"expires_at": None},
        {"expires_at": 9000.0},
        {"kdf": "scrypt"},
        {"iterations": 0},
        {"iterations": -1},
        {"iterations": 10**15},
        {"salt_b64": "é"},
        {"hash_b64": "AAAA"},
        {"hash_b64": "A"},
        {"hash_b64": ""},
    ],
)
def test_a_record_that_was_changed_fits_no_secret(change: dict[str, object]) -> None:
    record = KeyRecord.of(KEY, "acme", pepper="", now=1.0, is_read_only=True, expires_at=2000.0)
    changed = KeyRecord.from_bytes(json.dumps({**json.loads(record.to_bytes()), **change}).encode())
    assert not changed.fits(KEY.secret, "")


def test_a_moment_written_as_a_whole_number_by_another_program_is_the_same_limit() -> None:
    record = KeyRecord.of(KEY, "acme", pepper="", now=1.0, expires_at=2000.0)
    payload = json.dumps({**json.loads(record.to_bytes()), "expires_at": 2000}).encode()
    assert KeyRecord.from_bytes(payload).fits(KEY.secret, "")


def test_a_key_is_accepted_until_it_is_revoked_or_expires() -> None:
    record = KeyRecord("0123456789abcdef", "acme", "none", 1, "", "", created_at=1000.0, expires_at=2000.0)
    assert record.is_accepted(1999.9)
    assert not record.is_accepted(2000.0)
    assert not record.revoked(1500.0).is_accepted(1500.0)


def test_two_records_of_one_key_have_different_salts() -> None:
    records = [KeyRecord.of(KEY, "acme", pepper="", now=1000.5) for _ in range(2)]
    assert records[0].salt_b64 != records[1].salt_b64
    assert all(len(bytes_of(record.salt_b64)) >= 16 for record in records)


def test_a_revocation_keeps_its_first_time_and_what_others_wrote() -> None:
    document = {**json.loads(KeyRecord.of(KEY, "acme", pepper="", now=1000.5).to_bytes()), "note": "of another"}
    record = KeyRecord.from_bytes(json.dumps(document).encode())
    revoked = KeyRecord.from_bytes(record.revoked(2000.5).revoked(3000.5).to_bytes())
    assert json.loads(revoked.to_bytes()) == {**document, "revoked_at": 2000.5}


@pytest.mark.parametrize(
    "change",
    [
        {"key_id": None},
        {"tenant_id": 5},
        {"created_at": "now"},
        {"revoked_at": "now"},
        {"iterations": 1.5},
        {"read_only": 1},
        {"read_only": None},
        {"expires_at": "2030-01-31"},
        {"expires_at": True},
        {"expires_at": math.nan},
        {"expires_at": math.inf},
    ],
)
def test_what_is_no_record_of_a_key_is_refused(change: dict[str, object]) -> None:
    document = {**json.loads(KeyRecord.of(KEY, "acme", pepper="", now=1000.5).to_bytes()), **change}
    with pytest.raises(ValueError, match=next(iter(change))):
        KeyRecord.from_bytes(json.dumps(document).encode())


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"{}", b"null"])
def test_what_is_no_json_object_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        KeyRecord.from_bytes(payload)


def test_a_new_key_keeps_to_the_grammar_and_is_read_back() -> None:
    key = ApiKey.generate()
    assert re.fullmatch(r"pyoco_[A-Za-z0-9_-]{8,64}\.[A-Za-z0-9_-]{16,256}", key.text)
    assert ApiKey.parse(key.text) == key
    assert ApiKey.generate() != key


def test_the_id_of_a_new_key_never_looks_like_a_flag() -> None:
    assert all(re.fullmatch("[0-9a-f]{16}", ApiKey.generate().key_id) for _ in range(200))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pyoco_0123456.aaaaaaaaaaaaaaaa",
        "pyoco_01234567.aaaaaaaaaaaaaaa",
        "pyoco_01234567aaaaaaaaaaaaaaaaa",
        "01234567.aaaaaaaaaaaaaaaa",
        "pyoco_01234567.aaaaaaaaaaaaaaaa\n",
        "pyoco_0123456é.aaaaaaaaaaaaaaaa",
        f"pyoco_{'a' * 65}.aaaaaaaaaaaaaaaa",
        f"pyoco_01234567.{'a' * 257}",
    ],
)
def test_what_is_no_key_is_not_read(text: str) -> None:
    assert ApiKey.parse(text) is None


def test_a_key_shows_its_secret_only_when_asked() -> None:
    assert KEY.secret not in f"{KEY} {KEY!r}"


@pytest.mark.parametrize(("text", "is_one"), [("a", True), ("A-b_9", True), ("a" * 64, True), ("a" * 65, False)])
def test_a_tenant_has_1_to_64_characters(text: str, is_one: bool) -> None:
    assert is_tenant(text) is is_one


@pytest.mark.parametrize(("text", "is_one"), [("a" * 7, False), ("a" * 8, True), ("-_" * 32, True), ("a" * 65, False)])
def test_a_key_id_has_8_to_64_characters(text: str, is_one: bool) -> None:
    assert is_key_id(text) is is_one


@pytest.mark.parametrize("text", ["", "aaaa aaaa", "aaaa.aaaa", "aaaa*aaaa", "aaaaaaaa\n", "aaaaaaaé"])
def test_neither_tenant_nor_key_id_has_other_characters(text: str) -> None:
    assert not is_tenant(text)
    assert not is_key_id(text)
