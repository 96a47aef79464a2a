"""What the commands say to systemd, heard at a real socket; test_systemd.py has systemd itself listen."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import requests

from tests.support.commands import Daemon
from tests.support.fleet import TAG, Fleet, children_of, flow, fork_servers_of, runners_of
from tests.support.nats import NatsServer, free_port
from tests.support.notify import BLOCKING, Manager, listening
from tests.support.waiting import PATIENCE_SEC, eventually

#: Threads without which a process must not count as alive, and the command in which they run.
FAST = (("pyoco-bridge", "pyoco-worker"), ("pyoco-bridge", "pyoco-server"))
#: These may wait for NATS for half a minute and more.
SLOW = (
    ("pyoco-streams", "pyoco-server"),
    ("pyoco-follow-KV_pyoco_runs", "pyoco-server"),
    ("pyoco-registry", "pyoco-worker"),
    ("pyoco-consumer", "pyoco-worker"),
)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with listening(str(tmp_path / "notify")) as found:
        yield found


def begin(command: str, start: Callable[..., Daemon], nats: NatsServer, manager: Manager, **env: str) -> Daemon:
    flags = ("--tags", TAG) if command == "pyoco-worker" else ("up", "--port", str(free_port()))
    return start(command, *flags, "--nats-url", nats.url, **manager.env, **env)


@pytest.mark.long
def test_a_gateway_is_ready_when_lists_can_be_answered(
    start: Callable[..., Daemon], nats: NatsServer, manager: Manager
) -> None:
    port = free_port()
    gateway = start("pyoco-server", "up", "--port", str(port), "--nats-url", nats.url, **manager.env)
    manager.wait_for("READY=1")
    assert requests.get(f"http://127.0.0.1:{port}/ready", timeout=5).status_code == 200
    manager.wait_for("STATUS=serves: 0 runs wait, 0 run")
    with nats.frozen():
        manager.wait_for(lambda line: line.startswith("STATUS=serves, but NATS is away"))
    assert not manager.says("STOPPING=1")
    assert gateway.stop() == 0
    manager.wait_for("STOPPING=1")


@pytest.mark.long
def test_a_gateway_without_nats_ends_and_never_was_ready(start: Callable[..., Daemon], manager: Manager) -> None:
    gateway = start("pyoco-server", "up", "--port", "0", "--nats-url", f"nats://127.0.0.1:{free_port()}", **manager.env)
    assert gateway.process.wait(PATIENCE_SEC) == 1
    manager.wait_for("WATCHDOG=1")
    assert not manager.says("READY=1")


@pytest.mark.long
def test_a_worker_waits_for_nats_and_asks_for_the_time(
    start: Callable[..., Daemon], nats: NatsServer, tmp_path: Path
) -> None:
    nats.stop()
    with listening(f"@{tmp_path}") as manager:
        worker = begin("pyoco-worker", start, nats, manager)
        manager.wait_for("STATUS=waits for NATS")
        worker.wait_for_log("waiting for NATS")
        manager.wait_for(lambda line: line.startswith("EXTEND_TIMEOUT_USEC="))
        assert not manager.says("READY=1")
        nats.start()
        manager.wait_for("READY=1")
        worker.wait_for_log("the worker serves")
        manager.wait_for(f"STATUS=serves {TAG}: 0 of 1 slots are busy")


@pytest.mark.long
def test_a_worker_that_drains_asks_for_the_time_and_no_process_of_a_run_knows_the_socket(
    start: Callable[..., Daemon], fleet: Fleet, nats: NatsServer, manager: Manager
) -> None:
    worker = begin("pyoco-worker", start, nats, manager)
    manager.wait_for("READY=1")
    run_id = fleet.submit(flow("hold"))
    fleet.running(run_id, "hold")
    manager.wait_for(f"STATUS=serves {TAG}: 1 of 1 slots are busy")
    ours = [*fork_servers_of(worker), *runners_of(worker), *children_of(worker, "sentinel_process")]
    assert len(ours) == 3
    for pid in ours:
        environment = Path(f"/proc/{pid}/environ").read_text()
        assert "PATH=" in environment and "NOTIFY_SOCKET" not in environment and "WATCHDOG" not in environment
    worker.process.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    stopped_at = time.monotonic()
    for word in ("EXTEND_TIMEOUT_USEC=30000000", "WATCHDOG=1"):
        eventually(
            lambda word=word: [at for at, line in list(manager.heard) if line == word and at > stopped_at],
            what=f"{word} while a run goes on",
            timeout_sec=PATIENCE_SEC,
        )
    fleet.touch("go")
    assert worker.process.wait(PATIENCE_SEC) == 0
    assert fleet.ended(run_id)["attempt"] == 1


@pytest.mark.long
@pytest.mark.parametrize("frozen_sec", [12, 60])
def test_the_watchdog_is_fed_while_nats_answers_nothing(
    start: Callable[..., Daemon], nats: NatsServer, tmp_path: Path, frozen_sec: float
) -> None:
    with listening(str(tmp_path / "g")) as of_gateway, listening(str(tmp_path / "w")) as of_worker:
        begin("pyoco-server", start, nats, of_gateway)
        begin("pyoco-worker", start, nats, of_worker)
        for manager in (of_gateway, of_worker):
            manager.wait_for("READY=1")
        with nats.frozen():
            began_at = time.monotonic()
            while time.monotonic() < began_at + frozen_sec:
                assert not of_gateway.gives_up(began_at) and not of_worker.gives_up(began_at)
                time.sleep(0.5)


@pytest.mark.long
def test_the_watchdog_ends_what_has_a_thread_that_does_not_come_round(
    start: Callable[..., Daemon], nats: NatsServer, tmp_path: Path
) -> None:
    check_that_they_are_given_up(FAST, start, nats, tmp_path)


@pytest.mark.long
def test_the_watchdog_ends_also_what_may_be_silent_for_long(
    start: Callable[..., Daemon], nats: NatsServer, tmp_path: Path
) -> None:
    check_that_they_are_given_up(SLOW, start, nats, tmp_path)


def check_that_they_are_given_up(
    threads: Sequence[tuple[str, str]], start: Callable[..., Daemon], nats: NatsServer, folder: Path
) -> None:
    with contextlib.ExitStack() as stack:
        begun = []
        for number, (name, command) in enumerate(threads):
            # A longer name may be too long for a socket.
            manager = stack.enter_context(listening(str(folder / str(number)), watchdog_sec=8.0))
            env = {"PYTHONPATH": str(BLOCKING), "BLOCKED_THREAD": name}
            begun.append((name, manager, begin(command, start, nats, manager, **env)))
        for _, manager, _ in begun:
            manager.wait_for("READY=1")
        blocked_at = time.monotonic()
        for _, _, daemon in begun:
            daemon.process.send_signal(signal.SIGUSR1)
        for name, manager, daemon in begun:
            eventually(lambda manager=manager: manager.gives_up(blocked_at), what=f"the end of {name}", timeout_sec=180)
            daemon.wait_for_log(f"{name}\\b.* does not come round any more")
            # The signal of systemd's watchdog.
            assert daemon.stop(signal.SIGABRT) == -signal.SIGABRT
            assert "Fatal Python error: Aborted" in daemon.log and "Thread 0x" in daemon.log
