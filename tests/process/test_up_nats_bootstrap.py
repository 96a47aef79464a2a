"""``pyoco-server up --with-nats-bootstrap``: NATS through the published command, as the documents of 0.5.1 have it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pyoco_server.ports import answers
from tests.process.conftest import Up
from tests.support.commands import reason, run
from tests.support.nats import free_port
from tests.support.processes import Family
from tests.support.waiting import eventually

WITH = ("up", "--with-nats-bootstrap")


@pytest.fixture
def monitoring() -> tuple[str, str]:
    """Flags that keep it off the default monitoring port."""
    return ("--nats-http-port", str(free_port()))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def fake(folder: Path, script: str) -> str:
    """Put a command of that name first on PATH, and give the PATH."""
    command = folder / "bin" / "nats-bootstrap"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return f"{command.parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_started_and_stopped_with_its_nats_server(
    up: Up, family: Family, tmp_path: Path, monitoring: tuple[str, str], number: int
) -> None:
    daemon = up.serve(*WITH, *monitoring)
    assert family.members("nats-bootstrap up --")
    assert answers("127.0.0.1", up.nats_port)
    assert requests.get(f"http://127.0.0.1:{monitoring[1]}/healthz", timeout=5).status_code == 200
    assert "sync_interval: always" in (tmp_path / ".pyoco" / "nats" / "nats-server.conf").read_text()
    assert daemon.stop(number) == 0
    assert family.members() == []
    # Not cut off while it wrote.
    assert "JetStream Shutdown" in (tmp_path / ".pyoco" / "nats" / "nats-server.log").read_text()


def test_a_kill_leaves_neither_of_the_two_behind(up: Up, family: Family, monitoring: tuple[str, str]) -> None:
    """The kernel tells of the death with each thread that dies: a program that may hear it once only missed it here."""
    up.serve(*WITH, *monitoring).kill()
    family.wait_until_gone()


@pytest.mark.long
@pytest.mark.parametrize("victim", ["nats-bootstrap up --", "nats-server -c"])
def test_when_one_of_the_two_is_killed_both_are_started_again(
    up: Up, family: Family, monitoring: tuple[str, str], victim: str
) -> None:
    daemon = up.serve(*WITH, *monitoring)
    former = {member.pid for member in family.members("nats-")} - {daemon.process.pid}
    family.signal(victim, signal.SIGKILL)
    daemon.wait_for_log("it is started again")
    eventually(lambda: requests.get(f"{up.url}/ready", timeout=5).ok, what="the gateway being ready again")
    assert not former & {member.pid for member in family.members()}
    assert daemon.stop() == 0
    assert family.members() == []


@pytest.mark.long
@pytest.mark.parametrize("url", ["nats://127.0.0.1:{}", "nats://localhost:{}/", "127.0.0.1:{}"])
def test_a_url_that_says_the_same_is_no_contradiction(up: Up, monitoring: tuple[str, str], url: str) -> None:
    port = ("--nats-client-port", str(up.nats_port))
    up.serve(*WITH, *monitoring, *port, "--nats-url", url.format(up.nats_port))


def refusal(*flags: str, cwd: Path, **env: str) -> str:
    done = run("pyoco-server", *WITH, "--port", "0", *flags, cwd=cwd, **env)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert done.stderr.startswith("ERR-PYOCO-0018 ")
    return reason(done.stderr)


def test_a_url_that_says_something_else_is_refused(tmp_path: Path) -> None:
    words = refusal("--nats-url", "nats://me:s3@cret@elsewhere:4222", cwd=tmp_path)
    assert "--nats-url nats://elsewhere:4222 contradicts --with-nats-bootstrap" in words


def test_a_command_that_is_not_on_path_is_refused(tmp_path: Path) -> None:
    assert "nats-bootstrap is not on PATH" in refusal(cwd=tmp_path, PATH=os.defpath)


@pytest.mark.parametrize("flag", ["--nats-client-port", "--nats-http-port"])
def test_a_port_in_use_is_refused_by_its_address(tmp_path: Path, taken: int, flag: str) -> None:
    free = ("--nats-client-port", str(free_port()), "--nats-http-port", str(free_port()))
    assert f"already in use: 127.0.0.1:{taken}" in refusal(*free, flag, str(taken), cwd=tmp_path)


@pytest.mark.long
def test_a_nats_that_answers_already_is_a_port_in_use_too(up: Up, tmp_path: Path) -> None:
    up.serve()
    folder = tmp_path / "other"
    folder.mkdir()
    words = refusal("--nats-client-port", str(up.nats_port), cwd=folder)
    assert f"already in use: 127.0.0.1:{up.nats_port}" in words


def test_one_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    path = fake(tmp_path, "echo 'nats-server: the moon is full' >&2; exit 3")
    flags = ("--nats-client-port", str(free_port()), "--nats-http-port", str(free_port()))
    words = refusal(*flags, cwd=tmp_path, PATH=path)
    assert "nats-bootstrap ended with exit status 3: nats-server: the moon is full" in words


@pytest.mark.long
def test_one_that_takes_longer_than_ten_seconds_is_given_up(family: Family, tmp_path: Path) -> None:
    path = fake(tmp_path, f"touch '{tmp_path}/begun'; sleep 100 & sleep 100")
    port = free_port()
    flags = ("--nats-client-port", str(port), "--nats-http-port", str(free_port()))
    words = refusal(*flags, cwd=tmp_path, PATH=path, PYOCO_TEST_FAMILY=family.mark)
    # From its own start: that of the command takes seconds on a busy machine.
    assert 10 < time.time() - (tmp_path / "begun").stat().st_mtime < 14
    assert f"did not bring up NATS at nats://127.0.0.1:{port} within 10 s" in words
    assert family.members() == []
