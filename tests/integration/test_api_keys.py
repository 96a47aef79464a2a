"""Which requests a gateway that asks for keys lets in."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from pyoco_server.contract.keys import ApiKey
from tests.integration.conftest import Guarded
from tests.support.commands import run
from tests.support.gateway import LocalGateway, problem
from tests.support.keys import GuardedGateway, Keys, key_id_of
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

#: Kept by nobody.
WRONG_KEY = "pyoco_0123456789abcdef.0123456789abcdef"


def is_refused(gateway: GuardedGateway, key: str) -> bool:
    return gateway.with_key(key, "GET", "/runs").status_code == 403


@pytest.mark.parametrize("path", ["/health", "/ready", "/"])
def test_health_readiness_and_first_page_need_no_key(guarded: Guarded, path: str) -> None:
    assert guarded.gateway.get(path).status_code == 200
    assert guarded.gateway.get(path, headers={"X-API-Key": WRONG_KEY}).status_code == 200


def test_the_first_page_says_that_a_key_is_needed_and_shows_no_data(guarded: Guarded) -> None:
    page = guarded.gateway.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "X-API-Key" in page.text
    assert "/runs" not in page.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/runs"),
        ("POST", "/runs"),
        ("POST", "/runs/yaml"),
        ("GET", "/runs/some-run"),
        ("GET", "/runs/some-run/watch"),
        ("DELETE", "/runs"),
        ("OPTIONS", "/runs"),
        ("GET", "/nowhere"),
        ("GET", "/static"),
        ("GET", "/health/"),
    ],
)
def test_without_a_key_everything_else_answers_401(guarded: Guarded, method: str, path: str) -> None:
    answer = guarded.gateway.ask(method, path, json={})
    document = problem(answer, 401)
    assert document["err_id"] == "ERR-PYOCO-0014"
    assert "X-API-Key" in document["detail"]
    assert answer.headers["WWW-Authenticate"] == 'ApiKey header="X-API-Key"'


def test_every_route_but_the_open_ones_answers_401_without_a_key(guarded: Guarded) -> None:
    open_paths = {"/health", "/ready", "/", "/static/<path:filename>", "/ui/sign-in"}
    rules = [rule for rule in guarded.gateway.url_map.iter_rules() if rule.rule not in open_paths]
    assert rules
    for rule in rules:
        path = rule.rule.replace("<", "").replace(">", "")
        for method in rule.methods or ():
            assert guarded.gateway.ask(method, path).status_code == 401, f"{method} {rule.rule}"


def test_an_empty_key_is_none(guarded: Guarded) -> None:
    assert problem(guarded.gateway.with_key("", "GET", "/runs"), 401)["err_id"] == "ERR-PYOCO-0014"


@pytest.mark.parametrize("key", [WRONG_KEY, "x", "Bearer x", "pyoco_a.b", "pyoco_0123456789abcdef." + "a" * 300])
def test_what_is_nobodys_key_answers_403(guarded: Guarded, key: str) -> None:
    assert problem(guarded.gateway.with_key(key, "GET", "/runs"), 403)["err_id"] == "ERR-PYOCO-0015"


def test_another_keys_secret_answers_403(guarded: Guarded) -> None:
    one, other = guarded.keys.make("acme"), guarded.keys.make("acme")
    guarded.gateway.wait_until_known(one)
    mixed = ApiKey(key_id_of(one), other.rpartition(".")[2]).text
    for _ in range(2):
        problem(guarded.gateway.with_key(mixed, "GET", "/runs"), 403)
    assert guarded.gateway.with_key(one, "GET", "/runs").status_code == 200


def test_a_key_works_at_once_and_its_revocation_too_on_every_gateway(guarded: Guarded) -> None:
    other = GuardedGateway(guarded.nats)
    try:
        key = guarded.keys.make("acme")
        for gateway in (guarded.gateway, other):
            gateway.wait_until_known(key)
        guarded.keys.revoke(key)
        revoked_at = time.monotonic()
        for gateway in (guarded.gateway, other):
            eventually(lambda at=gateway: is_refused(at, key), what="403")
        assert time.monotonic() - revoked_at < 1
    finally:
        other.stop()


def test_a_key_that_expires_is_refused_from_then_on(guarded: Guarded) -> None:
    expires_at = time.time() + 1.5
    key = guarded.keys.make("acme", expires_at=expires_at)
    guarded.gateway.wait_until_known(key)
    eventually(lambda: is_refused(guarded.gateway, key), what="403")
    assert time.time() >= expires_at


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("POST", 403), ("DELETE", 403)])
def test_a_read_only_key_may_get_and_head_alone(guarded: Guarded, method: str, status: int) -> None:
    key = guarded.keys.make("acme", is_read_only=True)
    guarded.gateway.wait_until_known(key)
    answer = guarded.gateway.with_key(key, method, "/runs", json={"flow_name": "main"})
    assert answer.status_code == status
    if status == 403:
        assert problem(answer, 403)["err_id"] == "ERR-PYOCO-0015"
        assert "may only read" in answer.json()["detail"]


def test_a_record_whose_limits_were_taken_away_is_refused(guarded: Guarded) -> None:
    key = guarded.keys.make("acme", is_read_only=True)
    guarded.gateway.wait_until_known(key)
    entry = f"api_keys.{key_id_of(key)}"
    record = json.loads(guarded.parts.bus.last("KV_pyoco_auth", f"$KV.pyoco_auth.{entry}").payload)
    del record["read_only"]
    guarded.parts.put(entry, record, bucket="pyoco_auth")
    eventually(lambda: is_refused(guarded.gateway, key), what="403")


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"key_id": "other"}'])
def test_a_record_that_is_none_is_refused_and_disturbs_no_other(guarded: Guarded, payload: bytes) -> None:
    key, other = guarded.keys.make("acme"), guarded.keys.make("acme")
    guarded.gateway.wait_until_known(key)
    guarded.parts.put(f"api_keys.{key_id_of(key)}", payload, bucket="pyoco_auth")
    eventually(lambda: is_refused(guarded.gateway, key), what="403")
    guarded.gateway.wait_until_known(other)


def test_a_record_without_a_tenant_opens_nothing(guarded: Guarded) -> None:
    key = guarded.keys.make("")
    later = guarded.keys.make("acme")
    guarded.gateway.wait_until_known(later)
    assert guarded.gateway.with_key(key, "GET", "/runs").status_code == 403


def test_the_gateway_that_came_first_hears_of_keys_also_after_their_bucket_was_deleted(guarded: Guarded) -> None:
    key = guarded.keys.make("acme")
    guarded.gateway.wait_until_known(key)
    guarded.parts.bus.api("STREAM.DELETE.KV_pyoco_auth")
    eventually(lambda: is_refused(guarded.gateway, key), what="403")
    again = guarded.keys.make("acme")
    guarded.gateway.wait_until_known(again)
    assert guarded.gateway.with_key(key, "GET", "/runs").status_code == 403


def test_the_header_is_the_one_of_the_settings(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    gateway = serve(PYOCO_HTTP_AUTH_MODE="api_key", PYOCO_HTTP_API_KEY_HEADER="X-Team-Key")
    gateway.wait_until_complete()
    key = Keys(parts).make("acme")
    eventually(lambda: gateway.get("/runs", headers={"X-Team-Key": key}).status_code == 200, what="200")
    answer = gateway.get("/runs", headers={"X-API-Key": key})
    assert "X-Team-Key" in problem(answer, 401)["detail"]


def test_a_key_made_with_another_pepper_is_refused(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    gateway = serve(PYOCO_HTTP_AUTH_MODE="api_key", PYOCO_AUTH_PEPPER="salt and")
    gateway.wait_until_complete()
    key = Keys(parts).make("acme")
    eventually(lambda: gateway.parts.model.keys.get(key_id_of(key)), what="the record")
    assert gateway.get("/runs", headers={"X-API-Key": key}).status_code == 403


@pytest.mark.parametrize("mode", ["", "apikey", "off", "none,api_key"])
def test_a_mode_that_is_not_known_is_an_error_at_start(mode: str, tmp_path: Path) -> None:
    done = run("pyoco-server", "up", "--port", "0", cwd=tmp_path, PYOCO_HTTP_AUTH_MODE=mode)
    assert (done.returncode, done.stdout) == (1, "")
    assert "PYOCO_HTTP_AUTH_MODE" in done.stderr and "none or api_key" in done.stderr


def test_while_nats_is_away_nobody_is_let_in_and_no_key_is_called_wrong(nats: NatsServer) -> None:
    gateway = GuardedGateway(nats)
    try:
        with Parts(nats.url) as parts:
            key = Keys(parts).make("acme")
        gateway.wait_until_known(key)
        nats.stop()
        eventually(lambda: not gateway.parts.bus.is_connected, what="the loss being noticed")
        for text in (key, WRONG_KEY):
            # Not even what needs no NATS, as the refusal of an input: the key may have been revoked meanwhile.
            answer = gateway.with_key(text, "POST", "/runs", json={})
            assert problem(answer, 503)["err_id"] == "ERR-PYOCO-0003"
            assert answer.headers["Retry-After"]
        problem(gateway.get("/runs"), 401)
        nats.start()
        gateway.wait_until_known(key)
        problem(gateway.with_key(WRONG_KEY, "GET", "/runs"), 403)
    finally:
        gateway.stop()


def test_a_flood_of_wrong_secrets_stops_nobody_who_has_a_key(guarded: Guarded) -> None:
    known, new = guarded.keys.make("acme"), guarded.keys.make("acme")
    guarded.gateway.wait_until_known(known)
    is_over = threading.Event()
    statuses: set[int] = set()

    def flood(number: int) -> None:
        with requests.Session() as session:
            for count in itertools.count():
                if is_over.is_set():
                    return
                wrong = f"pyoco_{key_id_of(known)}.wrong-secret-{number}-{count}"
                answer = session.get(f"{guarded.gateway.url}/runs", headers={"X-API-Key": wrong}, timeout=10)
                statuses.add(answer.status_code)

    with ThreadPoolExecutor(24) as threads:
        floods = [threads.submit(flood, number) for number in range(24)]
        try:
            eventually(lambda: 503 in statuses, what="the flood being cut off")
            began = time.monotonic()
            for _ in range(10):
                assert guarded.gateway.with_key(known, "GET", "/runs").status_code == 200
            assert guarded.gateway.with_key(new, "GET", "/runs").status_code == 200
            took_sec = time.monotonic() - began
        finally:
            is_over.set()
        for one in floods:
            one.result(10)
    assert took_sec < 5
    assert statuses == {403, 503}
