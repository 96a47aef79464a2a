"""The NATS server that ``pyoco-server up`` uses: one that runs, one that is named, or one of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import requests

from pyoco_server.ports import answers
from tests.process.conftest import Up
from tests.support.commands import reason, run
from tests.support.nats import NatsServer, free_port
from tests.support.processes import Family
from tests.support.waiting import eventually


def is_ready(up: Up) -> bool:
    """Say whether the gateway and all behind it serve."""
    try:
        return requests.get(f"{up.url}/ready", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.long
@pytest.mark.parametrize("subcommand", [(), ("up",)])
def test_with_nothing_named_it_starts_its_own_and_stops_it_at_the_end(
    up: Up, family: Family, tmp_path: Path, subcommand: tuple[str, ...]
) -> None:
    """Flags without a subcommand belong to ``up``."""
    daemon = up.serve(*subcommand)
    assert answers("127.0.0.1", up.nats_port)
    store = tmp_path / ".pyoco" / "nats"
    assert "sync_interval: always" in (store / "nats-server.conf").read_text()
    assert (store / "jetstream").is_dir()
    assert daemon.stop(signal.SIGTERM) == 0
    assert family.members() == []
    assert "JetStream Shutdown" in (store / "nats-server.log").read_text()


@pytest.mark.long
def test_the_setting_says_when_it_writes_to_disk_and_the_flag_where_it_answers_for_monitoring(
    up: Up, tmp_path: Path
) -> None:
    port = free_port()
    daemon = up.serve("--nats-http-port", str(port), PYOCO_NATS_SYNC="5s")
    assert "sync_interval: 5s" in (tmp_path / ".pyoco" / "nats" / "nats-server.conf").read_text()
    assert requests.get(f"http://127.0.0.1:{port}/jsz", timeout=5).status_code == 200
    assert daemon.stop(signal.SIGINT) == 0


def test_one_that_answers_already_is_used_and_not_stopped(up: Up, nats: NatsServer, tmp_path: Path) -> None:
    up.nats_port = nats.port
    daemon = up.serve()
    assert f"using the NATS server that answers at {nats.url}" in daemon.log
    assert daemon.stop() == 0
    assert answers("127.0.0.1", nats.port)
    assert not (tmp_path / ".pyoco").exists()


@pytest.mark.long
def test_the_one_that_the_env_file_names_is_used(up: Up, nats: NatsServer, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"PYOCO_NATS_URL={nats.url}\n")
    up.serve("--with-worker", PYOCO_LOAD_DOTENV="1").wait_for_log("the worker serves")
    assert not (tmp_path / ".pyoco").exists()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_its_own_is_started_again_when_it_ends(up: Up, family: Family, number: int) -> None:
    daemon = up.serve()
    former = family.nats_server()
    os.kill(former, number)
    daemon.wait_for_log(r"nats-server (was killed by SIGKILL|ended with exit status \d); it is started again")
    eventually(lambda: is_ready(up), what="the gateway being ready again")
    assert family.nats_server() != former
    assert daemon.stop() == 0
    assert family.members() == []


@pytest.mark.long
def test_one_that_cannot_be_started_again_ends_the_command(up: Up, family: Family, tmp_path: Path) -> None:
    """A gateway that can never serve again must not look alive; systemd, say, may know what to do."""
    daemon = up.serve()
    settings = tmp_path / ".pyoco" / "nats" / "nats-server.conf"
    settings.write_text("nonsense {")
    os.kill(family.nats_server(), signal.SIGKILL)
    assert daemon.process.wait(40) == 1
    assert "pyoco-server: nats-server ended with exit status 1, time and again: nats-server: " in daemon.log
    assert family.members() == []


@pytest.mark.long
def test_a_store_that_another_one_uses_is_refused_with_its_address(up: Up, tmp_path: Path) -> None:
    """Two servers on one store ruin each other's files."""
    up.serve()
    ports = ("--port", "0", "--nats-client-port", str(free_port()))
    done = run("pyoco-server", "up", *ports, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERR-PYOCO-0018 The store .pyoco/nats is in use")
    assert f"--nats-url {up.nats_url}" in done.stderr


@pytest.mark.long
def test_the_lock_of_a_killed_one_is_no_obstacle(up: Up, family: Family) -> None:
    """At once: the nats-server of the killed one may still be about to end."""
    up.serve().kill()
    daemon = up.serve()
    eventually(lambda: is_ready(up), what="the gateway being ready")
    assert "using the NATS server" not in daemon.log
    assert len(family.members("nats-server.conf")) == 1


def test_a_free_port_can_be_left_to_it(up: Up, tmp_path: Path) -> None:
    up.nats_port = 0
    up.serve()
    assert f'host: "127.0.0.1"\nport: {4222}\n' not in (tmp_path / ".pyoco" / "nats" / "nats-server.conf").read_text()
    eventually(lambda: is_ready(up), what="the gateway being ready")


@pytest.mark.long
def test_a_nats_server_without_jetstream_is_told_in_a_sentence(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    (tmp_path / "nats" / "nats.conf").write_text(f"host: 127.0.0.1\nport: {server.port}\n")
    server.start()
    try:
        done = run("pyoco-server", "--port", "0", "--nats-url", server.url, cwd=tmp_path)
    finally:
        server.stop()
    assert (done.returncode, done.stdout) == (1, "")
    assert "JetStream" in reason(done.stderr)
