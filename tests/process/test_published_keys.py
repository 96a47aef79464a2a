"""API keys beside the published 0.5.1, on one NATS: each side's keys are the other's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import HELLO_FLOW
from tests.support.commands import Daemon, is_serving, run
from tests.support.keys import GuardedGateway, key_id_of
from tests.support.nats import NatsServer, free_port
from tests.support.peer import Peer
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

PEPPER = "pépper and"
AUTH = {"PYOCO_HTTP_AUTH_MODE": "api_key", "PYOCO_AUTH_PEPPER": PEPPER}


class Admins:
    """Both admin commands on the test's NATS."""

    def __init__(self, peer: Peer, nats: NatsServer, folder: Path) -> None:
        self._peer = peer
        self._env = {"PYOCO_NATS_URL": nats.url, "PYOCO_AUTH_PEPPER": PEPPER}
        self._folder = folder

    def theirs(self, *args: str) -> Any:
        done = self._peer.run("pyoco-server-admin", "api-key", *args, folder=self._folder, **self._env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ours(self, *args: str) -> Any:
        done = run("pyoco-server-admin", "api-key", *args, cwd=self._folder, **self._env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def admins(peer: Peer, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Admins:
    return Admins(peer, nats, tmp_path_factory.mktemp("admins"))


@pytest.fixture(scope="module")
def ours(nats: NatsServer, admins: Admins) -> Iterator[GuardedGateway]:
    """Our gateway, on a bucket that the published command has made."""
    admins.theirs("create", "--tenant", "first")
    gateway = GuardedGateway(nats, PYOCO_AUTH_PEPPER=PEPPER)
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def theirs(
    peer: Peer, nats: NatsServer, ours: GuardedGateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a published gateway."""
    port = str(free_port())
    folder = tmp_path_factory.mktemp("theirs")
    daemon = peer.start("pyoco-server", "up", "--port", port, "--nats-url", nats.url, folder=folder, **AUTH)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: is_serving(url, daemon), what="the published gateway serving")
        yield url
    finally:
        daemon.stop()


def submission(url: str, key: str) -> requests.Response:
    return requests.post(f"{url}/runs", json={"flow_name": "main"}, headers={"X-API-Key": key}, timeout=10)


def test_a_key_of_the_published_command_is_accepted_by_both_gateways_until_ours_revokes_it(
    admins: Admins, ours: GuardedGateway, theirs: str
) -> None:
    key = admins.theirs("create", "--tenant", "acme")["api_key"]
    ours.wait_until_known(key)
    assert submission(theirs, key).status_code == 200
    admins.ours("revoke", "--key-id", key_id_of(key))
    eventually(lambda: submission(ours.url, key).status_code == 403, what="our gateway refusing it")
    assert submission(theirs, key).status_code == 403


def test_a_key_of_our_command_is_accepted_by_both_gateways_until_theirs_revokes_it(
    admins: Admins, ours: GuardedGateway, theirs: str
) -> None:
    key = admins.ours("create", "--tenant", "acme")["api_key"]
    ours.wait_until_known(key)
    assert submission(theirs, key).status_code == 200
    admins.theirs("revoke", "--key-id", key_id_of(key))
    eventually(lambda: submission(ours.url, key).status_code == 403, what="our gateway refusing it")
    assert submission(theirs, key).status_code == 403


@pytest.mark.parametrize("limits", [["--read-only"], ["--expires", "1d"], ["--read-only", "--expires", "1d"]])
def test_a_limited_key_is_accepted_by_ours_and_refused_by_the_published_gateway(
    admins: Admins, ours: GuardedGateway, theirs: str, limits: list[str]
) -> None:
    key = admins.ours("create", "--tenant", "acme", *limits)["api_key"]
    ours.wait_until_known(key)
    for path in ("/runs", "/runs/x"):
        assert requests.get(theirs + path, headers={"X-API-Key": key}, timeout=10).status_code == 403
    assert submission(theirs, key).status_code == 403


def test_a_revocation_by_the_published_command_does_not_free_a_limited_key(
    admins: Admins, ours: GuardedGateway, theirs: str
) -> None:
    key = admins.ours("create", "--tenant", "acme", "--read-only")["api_key"]
    ours.wait_until_known(key)
    admins.theirs("revoke", "--key-id", key_id_of(key))
    eventually(lambda: ours.with_key(key, "GET", "/runs").status_code == 403, what="our gateway refusing it")


def test_both_commands_list_the_same_keys(admins: Admins) -> None:
    for make in (admins.ours, admins.theirs):
        make("create", "--tenant", "listed")
    fields = ("key_id", "tenant_id", "created_at", "revoked_at")
    ours, theirs = (
        {tuple(key[name] for name in fields) for key in command("list") if key["tenant_id"] == "listed"}
        for command in (admins.ours, admins.theirs)
    )
    assert len(ours) == 2
    assert ours == theirs


def test_each_gateway_shows_a_tenants_runs_of_the_other_and_no_other_tenants(
    admins: Admins, ours: GuardedGateway, theirs: str
) -> None:
    one, other = (admins.ours("create", "--tenant", tenant)["api_key"] for tenant in ("one", "other"))
    for key in (one, other):
        ours.wait_until_known(key)
    run_ids = {submission(url, one).json()["run_id"] for url in (ours.url, theirs)}
    eventually(lambda: listed(ours.url, one) == run_ids, what="both runs in our list")
    assert listed(theirs, one) == run_ids
    assert listed(ours.url, other) == set()
    for url in (ours.url, theirs):
        for run_id in run_ids:
            found = [
                requests.get(f"{url}/runs/{run_id}", headers={"X-API-Key": key}, timeout=10).status_code
                for key in (one, other)
            ]
            assert found == [200, 404]


def listed(url: str, key: str) -> set[str]:
    return {run["run_id"] for run in requests.get(f"{url}/runs", headers={"X-API-Key": key}, timeout=10).json()}


def test_the_published_client_works_with_its_key_against_our_gateway(
    peer: Peer, admins: Admins, ours: GuardedGateway, tmp_path: Path
) -> None:
    key = admins.theirs("create", "--tenant", "acme")["api_key"]
    ours.wait_until_known(key)

    def client(*args: str, api_key: str = key) -> Any:
        return peer.run("pyoco-client", "--server", ours.url, "--api-key", api_key, *args, folder=tmp_path)

    submitted = client("submit", "--flow-name", "main", "--params", "{}")
    assert submitted.returncode == 0, submitted.stderr
    run_id = json.loads(submitted.stdout)["run_id"]
    assert json.loads(client("get", run_id).stdout)["tenant_id"] == "acme"
    refused = client("get", run_id, api_key=key[:-4] + "xxxx")
    assert refused.returncode == 1
    assert "403" in refused.stderr


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_a_run_keeps_its_tenant_when_a_worker_executes_it(
    peer: Peer, nats: NatsServer, admins: Admins, ours: GuardedGateway, tmp_path: Path, whose: str
) -> None:
    key = admins.ours("create", "--tenant", "acme")["api_key"]
    ours.wait_until_known(key)
    flags = ("--nats-url", nats.url, "--tags", whose)
    if whose == "ours":
        worker = Daemon("pyoco-worker", *flags, cwd=tmp_path, log=tmp_path / "worker.log")
    else:
        worker = peer.start("pyoco-worker", *flags, folder=tmp_path)
    try:
        path = f"/runs/yaml?flow_name=main&tag={whose}"
        run_id = ours.with_key(key, "POST", path, data=HELLO_FLOW).json()["run_id"]

        def ended() -> Any:
            snapshot = ours.with_key(key, "GET", f"/runs/{run_id}").json()
            return snapshot if snapshot["status"] in ("COMPLETED", "FAILED") else None

        snapshot = eventually(ended, what="the run's end")
        assert (snapshot["status"], snapshot["tenant_id"]) == ("COMPLETED", "acme"), worker.log
        assert run_id in listed(ours.url, key)
    finally:
        worker.stop()
