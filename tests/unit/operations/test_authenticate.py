"""A key is judged by what is known when it has been checked, not by what was known before."""

from __future__ import annotations

import itertools

import pytest

from pyoco_server.bridge.messages import Change
from pyoco_server.config import Config
from pyoco_server.contract.keys import ApiKey, KeyRecord
from pyoco_server.errors import ApiKeyInvalid, KeysUnknown
from pyoco_server.operations.authenticate import ANYBODY, Authentication
from pyoco_server.readmodel.keys import KeyTable

KEY = ApiKey("0123456789abcdef", "s3cret-s3cret_s3cret")
GUARDED = Config(http_auth_mode="api_key")


def table_of(record: KeyRecord) -> KeyTable:
    table = KeyTable("pyoco_auth", changed=lambda: None)
    put(table, record, 1)
    table.set_complete(True)
    return table


def put(table: KeyTable, record: KeyRecord, seq: int) -> None:
    table.apply([Change(f"$KV.pyoco_auth.api_keys.{record.key_id}", record.to_bytes(), seq, False)])


def test_a_key_that_expires_while_it_is_checked_is_refused() -> None:
    record = KeyRecord.of(KEY, "acme", pepper="", now=1000.0, expires_at=2000.0)
    moments = iter([1999.0, 2000.0])
    authentication = Authentication(GUARDED, table_of(record), now=lambda: next(moments))
    with pytest.raises(ApiKeyInvalid):
        authentication.caller(KEY.text)


def test_a_key_whose_record_changes_while_it_is_checked_is_judged_by_the_new_one() -> None:
    table = table_of(KeyRecord.of(KEY, "acme", pepper="", now=1000.0))
    new = KeyRecord.of(KEY, "zeta", pepper="", now=1000.0, is_read_only=True)
    looks = itertools.count(1)

    def now() -> float:
        # The second look at the record is the one after the check.
        if next(looks) == 1:
            put(table, new, 2)
        return 1500.0

    caller = Authentication(GUARDED, table, now=now).caller(KEY.text)
    assert (caller.tenant_id, caller.may_write) == ("zeta", False)


def test_a_known_key_is_not_let_in_while_records_may_have_been_missed() -> None:
    table = table_of(KeyRecord.of(KEY, "acme", pepper="", now=1000.0))
    authentication = Authentication(GUARDED, table)
    assert authentication.caller(KEY.text).tenant_id == "acme"
    table.set_complete(False)
    with pytest.raises(KeysUnknown):
        authentication.caller(KEY.text)
    assert not authentication.is_current


def test_where_no_keys_are_asked_for_everybody_is_let_in() -> None:
    authentication = Authentication(Config(), KeyTable("pyoco_auth", changed=lambda: None))
    assert authentication.caller(None) is ANYBODY
    assert authentication.caller("anything") is ANYBODY
    assert authentication.may_stay(ANYBODY) and authentication.is_current


def test_a_key_is_known_at_once_from_its_first_check_to_its_next_record() -> None:
    table = table_of(KeyRecord.of(KEY, "acme", pepper="", now=1000.0, expires_at=2000.0))
    moment = 1500.0
    authentication = Authentication(GUARDED, table, now=lambda: moment)
    assert authentication.known_caller(KEY.text) is None
    caller = authentication.caller(KEY.text)
    assert authentication.known_caller(KEY.text) == caller
    assert authentication.known_caller(KEY.text[:-1] + "x") is None
    assert authentication.known_caller("none") is authentication.known_caller("") is authentication.known_caller(None)
    moment = 2000.0
    assert authentication.known_caller(KEY.text) is None
    moment = 1500.0
    table.set_complete(False)
    assert authentication.known_caller(KEY.text) is None
    table.set_complete(True)
    assert authentication.known_caller(KEY.text) == caller
    put(table, KeyRecord.of(KEY, "acme", pepper="", now=1000.0), 2)
    assert authentication.known_caller(KEY.text) is None


def test_everybody_is_known_where_no_keys_are_asked_for() -> None:
    table = KeyTable("pyoco_auth", changed=lambda: None)
    assert Authentication(Config(), table).known_caller(None) is ANYBODY
