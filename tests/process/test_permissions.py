"""An installation under ``pyoco-nats permissions``: nodes, gateway, worker and administrator with a password each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.contract import names
from tests.conftest import HELLO_FLOW
from tests.support import roles
from tests.support.clinic import Clinic
from tests.support.commands import Daemon, reason, run
from tests.support.nats import NatsServer, free_port
from tests.support.nodes import NodeProcess
from tests.support.waiting import PATIENCE_SEC, eventually


class Site:
    """The commands of one installation, each with the file of its role."""

    def __init__(self, folder: Path, start: Callable[..., Daemon]) -> None:
        self.folder, self.start = folder, start
        self.programs: list[Daemon] = []
        made = self.ask(None, "pyoco-nats", "permissions", "--output", "keys")
        assert {Path(path).name for path in json.loads(made)["files"]} >= {"permissions.conf", "routes.conf"}
        self.nodes = [NodeProcess(start, folder, name) for name in ("n1", "n2", "n3")]
        self.stranger = NodeProcess(start, folder, "stranger")

    def stop_all(self) -> None:
        for daemon in self.programs:
            assert daemon.stop() == 0, daemon.log

    def env(self, role: str | None) -> dict[str, str]:
        urls = ",".join(node.url for node in getattr(self, "nodes", []))
        env = {"PYOCO_NATS_URL": urls or "nats://127.0.0.1:1", "PYOCO_NATS_REPLICAS": "1"}
        # Read by the program itself, as a service manager or a container would have it.
        return {**env, "PYOCO_LOAD_DOTENV": "1", "PYOCO_ENV_FILE": f"keys/{role}.env"} if role else env

    def ask(self, role: str | None, *command: str, status: int = 0) -> str:
        done = run(*command, cwd=self.folder, timeout_sec=180, **self.env(role))
        assert done.returncode == status, done
        return done.stdout if status == 0 else done.stderr

    @property
    def violations(self) -> list[str]:
        logs = [line for node in self.nodes for line in node.daemon.log.splitlines()]
        return [line for line in logs if "Violation" in line]


@pytest.fixture
def site(tmp_path: Path, start: Callable[..., Daemon], monkeypatch: pytest.MonkeyPatch) -> Site:
    # Its users are of its own making.
    monkeypatch.delenv("PYOCO_TEST_PERMISSIONS", raising=False)
    return Site(tmp_path, start)


def serve(site: Site) -> str:
    """Start a gateway and a worker; gives the address of the gateway."""
    port = free_port()
    gateway = site.start("pyoco-server", "up", "--port", str(port), **site.env("gateway"))
    gateway.wait_for_log("serves at", timeout_sec=PATIENCE_SEC)
    worker = site.start("pyoco-worker", "--tags", "hello", **site.env("worker"))
    worker.wait_for_log("the worker serves", timeout_sec=PATIENCE_SEC)
    site.programs = [worker, gateway]
    return f"http://127.0.0.1:{port}"


def complete_a_run(client: PyocoHttpClient) -> str:
    """Submit a run and wait until it is COMPLETED; gives its id."""
    run_id = str(client.submit_run_yaml(HELLO_FLOW, flow_name="main", tag="hello")["run_id"])
    eventually(
        lambda: client.get_run(run_id)["status"] == "COMPLETED", what="the end of the run", timeout_sec=PATIENCE_SEC
    )
    return run_id


@pytest.mark.long
def test_an_installation_lives_under_the_permissions_that_are_made_for_it(site: Site) -> None:
    node = site.nodes[0]
    del site.nodes[1:]
    node.up("--permissions", "keys")
    node.wait_until_whole()
    early = site.start("pyoco-worker", "--tags", "early", **site.env("worker"))
    # Word for word: a worker may not make what a gateway makes, and waits for it.
    told = r"waiting for NATS: \w+ is missing, and this user may not create it\. Start a gateway, which does"
    early.wait_for_log(told, timeout_sec=PATIENCE_SEC)
    refused = re.findall(r'Subject "([^"]+)"', "\n".join(site.violations))
    assert set(refused) == {"$JS.API.STREAM.CREATE.PYOCO_WORK"}
    with PyocoHttpClient(serve(site)) as client:
        complete_a_run(client)
        early.wait_for_log("the worker serves", timeout_sec=PATIENCE_SEC)
        known = len(site.violations)
        key = json.loads(site.ask("admin", "pyoco-server-admin", "api-key", "create", "--tenant", "acme"))
        site.ask("admin", "pyoco-server-admin", "api-key", "revoke", "--key-id", key["key_id"])
        assert json.loads(site.ask("admin", "pyoco-nats", "status", "--json"))
        site.ask("admin", "pyoco-nats", "doctor", "--fix", "--monitor", node.monitor)
        site.ask("admin", "pyoco-nats", "backup", "saved")
    for role in ("gateway", "worker"):
        said = site.ask(role, "pyoco-server-admin", "api-key", "create", "--tenant", "acme", status=1)
        assert said.startswith("ERR-PYOCO-0003 ")
    said = site.ask(None, "pyoco-nats", "status", status=1)
    assert "does not let this process in: Authorization violation" in said
    assert not [line for line in site.violations[known:] if "user:pyoco_admin" in line]
    node.daemon.stop()
    passwords = [path.read_text().split("PASSWORD=")[1].strip() for path in (site.folder / "keys").glob("*.env")]
    logs = [path.read_text() for path in site.folder.glob("*.log")]
    assert len(passwords) == 3 and not [log for log in logs for password in passwords if password in log]


def test_what_older_permissions_do_not_permit_is_told_and_keeps_nothing_else_from_being_mended(tmp_path: Path) -> None:
    forget = '"$JS.API.CONSUMER.DELETE.PYOCO_WORK.*"'
    assert forget in roles.SERVER_CONF
    server = NatsServer(tmp_path / "nats", roles.SERVER_CONF.replace(forget, "")).start()
    clinic = Clinic(server.url, tmp_path, **roles.sign_in(names.ADMIN_ROLE))
    try:
        clinic.serve_tag("unused")
        clinic.bus.api("STREAM.DELETE.PYOCO_DLQ")
        mended = clinic.doctor("--fix", PYOCO_WORKER_RETENTION_SEC="0.1")
        assert (mended.status, mended.fixed) == (3, {("stream-missing", "PYOCO_DLQ")})
        (left,) = mended.findings
        assert left["id"] == "tag-unused"
        assert "It cannot be mended: NATS does not permit this user $JS.API.CONSUMER.DELETE." in left["text"]
    finally:
        clinic.close()
        server.stop()


@pytest.mark.long
def test_a_backup_is_restored_by_the_administrator_alone(site: Site) -> None:
    node = site.nodes[0]
    del site.nodes[1:]
    node.up("--permissions", "keys")
    node.wait_until_whole()
    with PyocoHttpClient(serve(site)) as client:
        run_id = complete_a_run(client)
    site.ask("admin", "pyoco-nats", "backup", "saved")
    # A restore is refused as long as a program looks on, whoever asks for it.
    site.stop_all()
    restore = ("pyoco-nats", "restore", "saved", "--replace", "--confirm")
    for role in ("gateway", "worker"):
        for command in (("pyoco-nats", "backup", f"saved-by-{role}"), restore):
            said = site.ask(role, *command, status=1)
            assert reason(said).startswith("ERR-PYOCO-0003 "), said
    known = len(site.violations)
    site.ask("admin", *restore)
    assert site.violations[known:] == []
    with PyocoHttpClient(serve(site)) as client:
        assert client.get_run(run_id)["status"] == "COMPLETED"


@pytest.mark.long
def test_nodes_of_a_cluster_let_in_nobody_who_does_not_know_their_password(site: Site) -> None:
    first, *others = site.nodes
    first.up("--permissions", "keys", "--cluster", "team")
    for node in others:
        node.up(
            "--permissions", "keys", "--cluster", "team", "--seed", f"127.0.0.1:{first.cluster_port}", command="join"
        )
    for node in site.nodes:
        node.wait_until_whole()
    with PyocoHttpClient(serve(site)) as client:
        complete_a_run(client)
        stranger = site.stranger.up("--cluster", "team", "--seed", f"127.0.0.1:{first.cluster_port}", command="join")
        eventually(
            lambda: "Authorization" in stranger.log or "authorization" in first.daemon.log,
            what="the stranger refused",
            timeout_sec=PATIENCE_SEC,
        )
        assert not site.stranger.is_whole()
        stranger.stop()
        left = site.nodes.pop()
        done = run(
            "pyoco-nats",
            "leave",
            "--confirm",
            "--datafolder",
            str(left.folder),
            cwd=site.folder,
            timeout_sec=180,
            **site.env("admin"),
        )
        assert done.returncode == 0, done
        complete_a_run(client)
    assert site.violations == []
