"""API keys for a test's gateway, made and revoked as ``pyoco-server-admin`` does it."""

from __future__ import annotations

import time
from typing import Any

import requests
from werkzeug.routing import Map

from pyoco_server.bridge.resources import ensure_bucket
from pyoco_server.contract.keys import ApiKey, KeyRecord
from pyoco_server.gateway.app import create_app
from pyoco_server.stores.keys import KeyStore
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually


class Keys:
    """Makes and revokes keys, over a connection of its own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = KeyStore(parts.bus, parts.config)

    def make(self, tenant: str, **limits: Any) -> str:
        """Give the text of a new key."""
        key = ApiKey.generate()
        ensure_bucket(self._parts.bus, self._parts.config, self._parts.config.auth_kv_bucket)
        self._store.create(KeyRecord.of(key, tenant, pepper="", now=time.time(), **limits))
        return key.text

    def revoke(self, key: str) -> None:
        assert self._store.revoke(key_id_of(key), now=time.time()) is not None


class GuardedGateway(LocalGateway):
    """A gateway that asks for keys."""

    def __init__(self, nats: NatsServer, **env: str) -> None:
        super().__init__(nats, PYOCO_HTTP_AUTH_MODE="api_key", **env)
        self.wait_until_complete()

    @property
    def url_map(self) -> Map:
        """All routes that it has."""
        return create_app(self.parts).url_map

    def with_key(self, key: str, method: str, path: str, **options: Any) -> requests.Response:
        return self.ask(method, path, headers={"X-API-Key": key, **options.pop("headers", {})}, **options)

    def submit_with(self, key: str, flow_name: str = "main") -> str:
        """Submit a run by flow name and give its id."""
        answer = self.with_key(key, "POST", "/runs", json={"flow_name": flow_name})
        assert answer.status_code == 200, answer.text
        run_id: str = answer.json()["run_id"]
        return run_id

    def wait_until_known(self, key: str) -> None:
        """Wait until the gateway has heard of a new key."""
        eventually(lambda: self.with_key(key, "GET", "/runs").status_code == 200, what="the key being accepted")


def key_id_of(key: str) -> str:
    parsed = ApiKey.parse(key)
    assert parsed is not None
    return parsed.key_id
