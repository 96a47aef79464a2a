"""``pyoco-server`` and ``pyoco-worker`` with something wrong: one clear sentence, exit 1, nothing on stdout."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import reason, run
from tests.support.nats import free_port

SERVER = "pyoco-server"
WORKER = "pyoco-worker"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port at which something listens that is no NATS server and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def refusal(*command: str, cwd: Path, **env: str) -> str:
    """Run a command that is to be refused, and give the words."""
    done = run(*command, cwd=cwd, **env)
    said = "Starting NATS, gateway and worker …\n" if "demo" in command else ""
    assert done.returncode == 1, done
    assert done.stdout in ("", said), done
    assert done.stderr.startswith("ERR-PYOCO-0018 "), done.stderr
    return reason(done.stderr)


@pytest.mark.parametrize("flags", [(), ("up",), ("demo",)])
@pytest.mark.parametrize("port", ["65536", "-1", "http", "8000.5", ""])
def test_a_port_that_is_none_is_refused_by_flag_and_value(tmp_path: Path, flags: tuple[str, ...], port: str) -> None:
    assert f"--port: {port!r} is not a port" in refusal(SERVER, *flags, f"--port={port}", cwd=tmp_path)


@pytest.mark.parametrize("flag", ["--nats-client-port", "--nats-http-port"])
def test_a_nats_port_that_is_none_is_refused_by_flag_and_value(tmp_path: Path, flag: str) -> None:
    assert f"{flag}: '99999' is not a port" in refusal(SERVER, flag, "99999", cwd=tmp_path)


def test_a_port_of_the_gateway_that_is_in_use_is_named(tmp_path: Path, taken: int) -> None:
    words = refusal(SERVER, "--port", str(taken), cwd=tmp_path)
    assert f"127.0.0.1:{taken}" in words
    assert "in use" in words
    assert not (tmp_path / ".pyoco").exists()


@pytest.mark.parametrize("flags", [("up",), ("demo", "--exit"), ("up", "--with-nats-bootstrap")])
def test_a_port_for_nats_that_something_else_uses_is_named(tmp_path: Path, taken: int, flags: tuple[str, ...]) -> None:
    words = refusal(SERVER, *flags, "--port", "0", "--nats-client-port", str(taken), cwd=tmp_path)
    assert f"already in use: 127.0.0.1:{taken}" in words


def test_a_host_that_is_not_of_this_machine_is_named(tmp_path: Path) -> None:
    assert "192.0.2.1:0" in refusal(SERVER, "--host", "192.0.2.1", "--port", "0", cwd=tmp_path)
    flags = ("--nats-listen-host", "192.0.2.1", "--nats-client-port", str(free_port()))
    assert "NATS cannot listen on 192.0.2.1" in refusal(SERVER, "--port", "0", *flags, cwd=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("by_flag", [True, False])
def test_a_nats_that_is_named_and_absent_is_told_within_ten_seconds(tmp_path: Path, by_flag: bool) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    began = time.monotonic()
    if by_flag:
        words = refusal(SERVER, "up", "--port", "0", "--nats-url", url, cwd=tmp_path)
    else:
        words = refusal(SERVER, "up", "--port", "0", cwd=tmp_path, PYOCO_NATS_URL=url)
    assert time.monotonic() - began < 10
    assert url in words
    assert "Start NATS there" in words
    assert not (tmp_path / ".pyoco").exists()


@pytest.mark.long
@pytest.mark.parametrize("command", [(SERVER, "up", "--port", "0"), (WORKER,)])
@pytest.mark.parametrize("url", ["nats://host:port", "http://127.0.0.1:4222", "nats://", "", "nats://h:1,", "//:4222"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, command: tuple[str, ...], url: str) -> None:
    words = refusal(*command, f"--nats-url={url}", cwd=tmp_path)
    assert f"--nats-url={url!r}" in words
    assert "nats://host:4222" in words


def test_a_password_in_a_bad_address_is_not_repeated(tmp_path: Path) -> None:
    assert "s3cret" not in refusal(SERVER, cwd=tmp_path, PYOCO_NATS_URL="nats://me:s3cret@host:port")


@pytest.mark.long
@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PYOCO_LOG_FORMAT", "xml", "json or text"),
        ("PYOCO_LOG_LEVEL", "loud", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ("PYOCO_LOG_UTC", "perhaps", "true or false"),
        ("PYOCO_DASHBOARD_LANG", "fr", "auto, ja or en"),
        ("PYOCO_MAX_WATCHES", "-1", "a whole number of at least 0"),
        ("PYOCO_CONSUMER_ACK_WAIT_SEC", "soon", "seconds"),
        ("PYOCO_RUNS_KV_BUCKET", "my runs", "letters, digits"),
        ("PYOCO_DEFAULT_TAG", "a.b", "a tag"),
        ("PYOCO_NATS_REPLICAS", "2", "auto, 1, 3 or 5"),
        ("PYOCO_LOAD_DOTENV", "sometimes", "true or false"),
    ],
)
@pytest.mark.parametrize("command", [SERVER, WORKER])
def test_a_setting_that_does_not_parse_is_named_with_its_value(
    tmp_path: Path, command: str, variable: str, value: str, expected: str
) -> None:
    words = refusal(command, cwd=tmp_path, **{variable: value})
    assert f"{variable}={value!r}" in words
    assert f"expected {expected}" in words


@pytest.mark.parametrize("command", [(SERVER,), (SERVER, "demo"), (WORKER,)])
def test_a_log_level_that_is_none_is_refused_by_its_flag(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert "--log-level='nonsense'" in refusal(*command, "--log-level", "nonsense", cwd=tmp_path)


def test_settings_of_a_worker_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    env = {"PYOCO_ACK_PROGRESS_INTERVAL_SEC": "30", "PYOCO_CONSUMER_ACK_WAIT_SEC": "10"}
    for command in ((WORKER,), (SERVER, "--with-worker")):
        words = refusal(*command, cwd=tmp_path, **env)
        assert "PYOCO_ACK_PROGRESS_INTERVAL_SEC (30)" in words
        assert "PYOCO_CONSUMER_ACK_WAIT_SEC (10)" in words


@pytest.mark.long
@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--worker-id", "w1"),
        ("--worker-tags", "a"),
        ("--worker-flow-resolver", "m:f"),
        ("--worker-poll-timeout", "1"),
    ],
)
def test_a_flag_of_the_worker_without_a_worker_is_refused(tmp_path: Path, flag: str, value: str) -> None:
    words = refusal(SERVER, flag, value, cwd=tmp_path)
    assert f"{flag} is for a worker" in words
    assert "--with-worker" in words


@pytest.mark.long
@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("tags", "a b"),
        ("tags", ","),
        ("id", "w 1"),
        ("id", "w*"),
        ("poll-timeout", "0"),
        ("poll-timeout", "nan"),
        ("poll-timeout", "inf"),
        ("poll-timeout", "soon"),
        ("flow-resolver", "no_such_module:f"),
        ("flow-resolver", "nothing"),
    ],
)
def test_a_bad_value_for_the_worker_is_refused_before_anything_starts(tmp_path: Path, flag: str, value: str) -> None:
    name = "worker-id" if flag == "id" else flag
    for words in (
        refusal(SERVER, "--with-worker", f"--worker-{flag}", value, cwd=tmp_path),
        refusal(WORKER, f"--{name}", value, cwd=tmp_path),
    ):
        assert value.split()[0].split(":")[0] in words
    assert not (tmp_path / ".pyoco").exists()


@pytest.mark.long
@pytest.mark.parametrize("spec", ["no_such_module:f", "nothing", "os:sep"])
def test_no_flag_is_named_that_only_the_worker_by_itself_has(tmp_path: Path, spec: str) -> None:
    words = refusal(SERVER, "--with-worker", "--worker-flow-resolver", spec, cwd=tmp_path)
    assert f"The flow resolver {spec} " in words
    assert "--flow-resolver" not in words


@pytest.mark.parametrize(("flag", "value"), [("--concurrency", "0"), ("--drain-sec", "-1"), ("--drain-sec", "x")])
def test_a_number_of_the_worker_that_makes_no_sense_is_refused(tmp_path: Path, flag: str, value: str) -> None:
    words = refusal(WORKER, f"{flag}={value}", cwd=tmp_path)
    assert flag in words
    assert repr(value) in words


def test_a_subcommand_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert "'upp'" in refusal(SERVER, "upp", cwd=tmp_path)


@pytest.mark.parametrize("flags", [("up",), ("demo", "--exit")])
def test_a_folder_that_cannot_take_the_store_is_named(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / ".pyoco").write_text("a file where a folder is to be")
    words = refusal(SERVER, *flags, "--port", "0", "--nats-client-port", str(free_port()), cwd=tmp_path)
    assert "ERR-PYOCO-0018 The folder .pyoco" in words


@pytest.mark.long
def test_without_nats_a_worker_for_one_run_gives_up_within_ten_seconds(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    began = time.monotonic()
    done = run(WORKER, "--run-once", "--nats-url", url, cwd=tmp_path)
    assert time.monotonic() - began < 10
    assert done.returncode == 1
    assert url in reason(done.stderr)
