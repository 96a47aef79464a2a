"""``pyoco-server demo``, the first thing that anybody tries."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support.commands import BIN, Daemon, clean_env, reason, run
from tests.support.nats import NatsServer, free_port
from tests.support.processes import MARK, Family

DEMO = ("pyoco-server", "demo")
STATES = ("RUNNING", "SUCCEEDED")
TASKS = ("load", "total", "largest", "report")


@pytest.fixture
def ports() -> tuple[str, ...]:
    """Flags that keep a demo off the default ports."""
    return ("--port", str(free_port()), "--nats-client-port", str(free_port()))


def check_shown(output: str) -> None:
    """Make sure that the sample flow was shown to its end, a line per change."""
    for task in TASKS:
        for state in STATES:
            assert re.search(rf"^\d\d:\d\d:\d\d {task} +{state}", output, re.MULTILINE), (task, state, output)
    assert "COMPLETED" in output
    assert '"The numbers add up to 55; the largest is 10."' in output


@pytest.mark.long
def test_in_a_pipe_it_prints_a_line_per_change_and_leaves_nothing_running(
    tmp_path: Path, ports: tuple[str, ...], family: Family
) -> None:
    for _ in ("the first", "a second one in the same folder"):
        done = run(*DEMO, "--exit", *ports, cwd=tmp_path, **{MARK: family.mark})
        assert (done.returncode, done.stderr) == (0, "")
        check_shown(done.stdout)
        assert "\x1b" not in done.stdout
        assert family.members() == []


@pytest.mark.long
def test_neither_a_strange_folder_nor_a_proxy_is_in_its_way(tmp_path: Path, ports: tuple[str, ...]) -> None:
    folder = tmp_path / 'größe "日本" $HOME'
    folder.mkdir()
    proxy = "http://127.0.0.1:1"
    done = run(*DEMO, "--exit", *ports, cwd=folder, http_proxy=proxy, HTTP_PROXY=proxy)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / ".pyoco" / "nats" / "jetstream").is_dir()


@pytest.mark.long
def test_in_a_terminal_it_draws_over_what_it_has_drawn(tmp_path: Path, ports: tuple[str, ...], family: Family) -> None:
    process, screen = in_terminal(*DEMO, "--exit", *ports, cwd=tmp_path, family=family)
    output = b"".join(screen).decode()
    assert process.wait(30) == 0
    assert "\x1b[" in output
    assert re.search("◐.*total.*RUNNING", output)
    assert re.search("●.*total.*SUCCEEDED", output)
    assert "COMPLETED" in output
    # The cursor, which the display hides, is there again.
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")
    assert family.members() == []


@pytest.mark.long
def test_ctrl_c_while_the_flow_is_shown_stops_everything(
    tmp_path: Path, ports: tuple[str, ...], family: Family
) -> None:
    process, screen = in_terminal(*DEMO, *ports, cwd=tmp_path, family=family, types=(b"total", b"\x03"))
    output = b"".join(screen).decode()
    assert process.wait(30) == 130
    assert "Traceback" not in output
    assert "COMPLETED" not in output
    assert family.members() == []


@pytest.mark.long
def test_ctrl_c_while_it_serves_is_a_good_end(tmp_path: Path, ports: tuple[str, ...], family: Family) -> None:
    process, screen = in_terminal(*DEMO, *ports, cwd=tmp_path, family=family, types=(b"Ctrl-C stops", b"\x03"))
    output = b"".join(screen).decode()
    assert process.wait(30) == 0
    assert "Traceback" not in output
    assert family.members() == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_goes_on_serving_until_a_signal(
    start: Callable[..., Daemon], ports: tuple[str, ...], family: Family, number: int
) -> None:
    daemon = start(*DEMO, *ports, **{MARK: family.mark})
    url = daemon.wait_for_log(r"Open (http://\S+)/ in a browser")[1]
    check_shown(daemon.log)
    runs = requests.get(f"{url}/runs", timeout=5).json()
    assert [run["status"] for run in runs] == ["COMPLETED"]
    assert daemon.stop(number) == 0
    assert family.members() == []


@pytest.mark.long
def test_when_the_usual_ports_are_in_use_it_takes_others_and_says_so(tmp_path: Path) -> None:
    with claim(8000), claim(4222):
        done = run(*DEMO, "--exit", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^Port 8000 is in use, so .* http://127\.0\.0\.1:\d+\.$", done.stdout, re.MULTILINE)
    check_shown(done.stdout)


def test_a_port_that_was_asked_for_is_not_replaced(tmp_path: Path) -> None:
    port = free_port()
    with claim(port):
        done = run(*DEMO, "--exit", "--port", str(port), cwd=tmp_path)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in reason(done.stderr)


@pytest.mark.long
def test_two_at_the_same_time_in_one_folder_share_its_nats(start: Callable[..., Daemon], tmp_path: Path) -> None:
    nats = ("--nats-client-port", str(free_port()))
    first = start(*DEMO, "--port", "0", *nats)
    first.wait_for_log("Ctrl-C stops everything")
    done = run(*DEMO, "--exit", "--port", "0", *nats, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    check_shown(done.stdout)
    assert first.stop() == 0


def test_where_api_keys_are_asked_for_it_says_at_once_that_it_has_none(tmp_path: Path) -> None:
    done = run("pyoco-server", "demo", "--exit", cwd=tmp_path, PYOCO_HTTP_AUTH_MODE="api_key")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERR-PYOCO-0018 PYOCO_HTTP_AUTH_MODE=api_key: the demo has no API key.")
    assert not (tmp_path / ".pyoco").exists()


@pytest.mark.long
def test_it_uses_a_nats_that_is_named(nats: NatsServer, tmp_path: Path) -> None:
    done = run(*DEMO, "--exit", "--port", "0", cwd=tmp_path, PYOCO_NATS_URL=nats.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / ".pyoco" / "nats").exists()


def test_it_leaves_a_nats_alone_that_nobody_has_named(nats: NatsServer, tmp_path: Path) -> None:
    """It may be in production, and is no more than a port in use."""
    done = run(*DEMO, "--exit", "--port", "0", "--nats-client-port", str(nats.port), cwd=tmp_path)
    assert done.returncode == 1
    assert f"already in use: 127.0.0.1:{nats.port}" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("redirection", [">&- 2>&- <&-", "| head -1"])
def test_a_reader_that_has_gone_leaves_nothing_running(
    tmp_path: Path, ports: tuple[str, ...], family: Family, redirection: str
) -> None:
    line = " ".join([*DEMO, "--exit", *ports, redirection])
    shell = ["bash", "-o", "pipefail", "-c", line]
    env = clean_env(**{MARK: family.mark})
    done = subprocess.run(shell, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert family.members() == []


def test_a_full_disk_under_its_output_is_told_in_a_sentence(
    tmp_path: Path, ports: tuple[str, ...], family: Family
) -> None:
    line = " ".join([*DEMO, "--exit", *ports, ">/dev/full"])
    env = clean_env(**{MARK: family.mark})
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    assert family.members() == []


def claim(port: int) -> socket.socket:
    """Listen at a port, unless somebody does so already."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return socket.socket()


def in_terminal(
    *command: str, cwd: Path, family: Family, types: tuple[bytes, bytes] | None = None
) -> tuple[subprocess.Popen[bytes], Iterator[bytes]]:
    """Run a command in a terminal of its own, as its foreground job.

    :param types: what is waited for on the screen, and what is typed then.
    :return: the process, and what the screen shows, to its end.
    """
    ours, theirs = pty.openpty()
    env = clean_env(TERM="xterm-256color", COLUMNS="100", LINES="40", **{MARK: family.mark})
    # The login shell of a new session: what is typed reaches the whole group in the foreground.
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", str(BIN / command[0]), *command[1:]],
        cwd=cwd,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)

    def read() -> Iterator[bytes]:
        seen = b""
        waits = types
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                # Nobody has the other end open any more.
                break
            seen += data
            if waits is not None and waits[0] in seen:
                os.write(ours, waits[1])
                waits = None
            yield data
        os.close(ours)

    return process, read()
