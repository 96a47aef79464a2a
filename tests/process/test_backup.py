"""``pyoco-nats backup`` and ``restore`` between real nats-servers."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.client.http import PyocoHttpClient
from pyoco_server.errors import GatewayRefused
from tests.conftest import Gateway
from tests.support.clinic import Clinic
from tests.support.commands import Daemon, reason, run
from tests.support.nats import NatsServer
from tests.support.waiting import PATIENCE_SEC, eventually

#: Enough that a command is in the midst of it for a while, and that one would see it in memory.
LARGE_BYTES = 48 * 1024 * 1024
PIECE_BYTES = 512 * 1024
LARGE = "OBJ_pyoco_wheels"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """A NATS with a run, a job that was handed out once, and a large wheel; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("source")
    server = NatsServer(folder / "nats").start()
    clinic = Clinic(server.url, folder)
    clinic.serve_tag("t")
    for number in range(3):
        clinic.bus.write(Write("$KV.pyoco_runs.r1", json.dumps({"number": number}).encode()))
    clinic.queue("t")
    for _ in range(LARGE_BYTES // PIECE_BYTES):
        clinic.bus.write(Write("$O.pyoco_wheels.C.w", os.urandom(PIECE_BYTES)))
    yield clinic
    clinic.close()
    server.stop()


@pytest.fixture(scope="module")
def backup(source: Clinic, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of all of it; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("backup") / "made" / "today"
    done = ask(source, "backup", str(folder), cwd=folder.parents[1])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def target(nats: NatsServer, tmp_path: Path) -> Iterator[Clinic]:
    """An empty NATS."""
    clinic = Clinic(nats.url, tmp_path, is_empty=True)
    yield clinic
    clinic.close()


def nats_command(clinic: Clinic, *words: str) -> list[str]:
    return ["pyoco-nats", *words, "--nats-url", clinic.url]


def ask(clinic: Clinic, *words: str, cwd: Path) -> Any:
    return run(*nats_command(clinic, *words), cwd=cwd)


def streams(clinic: Clinic) -> dict[str, dict[str, Any]]:
    """Give what each stream holds."""
    return {info["config"]["name"]: info["state"] for info in clinic.bus.api("STREAM.LIST")["streams"] or []}


def contents(clinic: Clinic) -> dict[str, tuple[int, int, int]]:
    return {stream: (state["messages"], state["bytes"], state["last_seq"]) for stream, state in streams(clinic).items()}


def test_everything_is_restored_on_an_empty_server(
    source: Clinic, target: Clinic, backup: Path, tmp_path: Path
) -> None:
    done = ask(target, "restore", str(backup), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "restored KV_pyoco_runs: 1 messages" in done.stderr
    assert {entry["name"] for entry in json.loads(done.stdout)["streams"]} == set(streams(source))
    assert contents(target) == contents(source)
    # A compare-and-set goes on with the revisions that were there.
    stored = target.bus.last("KV_pyoco_runs", "$KV.pyoco_runs.r1")
    assert (json.loads(stored.payload), stored.seq) == ({"number": 2}, 3)
    target.bus.write(Write(stored.subject, b"{}", expected_revision=3))
    (tag,) = target.bus.api("CONSUMER.LIST.PYOCO_WORK")["consumers"]
    assert (tag["name"], tag["num_pending"]) == ("pyoco_workers_t", 1)
    assert target.settings("KV_pyoco_runs")["allow_msg_ttl"] is True
    assert target.doctor().found == {("no-worker", "t")}


def test_a_backup_is_for_its_owner_alone(backup: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in (backup, *backup.glob("*.s2"))}
    assert {mode & 0o077 for mode in modes.values()} == {0}


def test_chosen_streams_and_buckets_alone_are_saved_and_restored(
    source: Clinic, target: Clinic, tmp_path: Path
) -> None:
    words = ["--output", "some", "--stream", "pyoco_runs", "--stream", "PYOCO_WORK"]
    assert ask(source, "backup", *words, cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == [
        "KV_pyoco_runs.tar.s2",
        "PYOCO_WORK.tar.s2",
        "manifest.json",
    ]
    assert ask(target, "restore", "--input", "some", "--stream", "pyoco_runs", cwd=tmp_path).returncode == 0
    assert set(streams(target)) == {"KV_pyoco_runs"}
    for command in (("backup", "other"), ("restore", "some")):
        done = ask(target, *command, "--stream", "nosuch", cwd=tmp_path)
        assert done.returncode == 1
        assert "ERR-PYOCO-0018 There is no stream or bucket nosuch" in done.stderr


def test_what_is_there_is_replaced_only_when_that_is_confirmed(target: Clinic, backup: Path, tmp_path: Path) -> None:
    words = ["restore", str(backup), "--stream", "pyoco_runs", "--stream", "PYOCO_WORK"]
    assert ask(target, *words, cwd=tmp_path).returncode == 0
    target.bus.write(Write("$KV.pyoco_runs.r2", b"{}"))
    target.bus.api("STREAM.DELETE.PYOCO_WORK")
    done = ask(target, *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason(done.stderr).startswith("ERR-PYOCO-0018 NATS holds KV_pyoco_runs already")
    # Nothing at all was restored.
    assert set(streams(target)) == {"KV_pyoco_runs"}
    done = ask(target, *words, "--replace", cwd=tmp_path)
    assert done.returncode == 1 and "--confirm is missing" in done.stderr
    assert streams(target)["KV_pyoco_runs"]["messages"] == 2
    assert ask(target, *words, "--replace", "--confirm", cwd=tmp_path).returncode == 0
    assert streams(target)["KV_pyoco_runs"]["messages"] == 1
    assert streams(target)["PYOCO_WORK"]["messages"] == 1


def test_nothing_is_restored_while_a_worker_runs(target: Clinic, backup: Path, tmp_path: Path) -> None:
    target.bus.api("STREAM.CREATE.KV_pyoco_workers", {"name": "KV_pyoco_workers", "subjects": ["$KV.pyoco_workers.>"]})
    target.put_worker("w1", time.time())
    target.put_worker("stopped", time.time(), state="STOPPED_GRACEFUL")
    target.put_worker("lost", time.time(), lost_at=time.time())
    words = ["restore", str(backup), "--replace", "--confirm"]
    done = ask(target, *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason(done.stderr) == "ERR-PYOCO-0018 Workers are running: w1. Stop them, and the gateways, too."
    assert set(streams(target)) == {"KV_pyoco_workers"}
    target.put_worker("w1", time.time(), state="STOPPED_GRACEFUL")
    assert ask(target, *words, cwd=tmp_path).returncode == 0


def listed(client: PyocoHttpClient) -> list[str]:
    """Give the runs that a gateway lists; while it loads them it lists none."""
    try:
        return [run["run_id"] for run in client.list_runs()]
    except GatewayRefused:
        return []


def test_nothing_is_restored_while_a_gateway_runs_unless_that_is_said(
    nats: NatsServer, target: Clinic, gateway: Gateway, client: PyocoHttpClient, tmp_path: Path
) -> None:
    early = client.submit_run("main", {}, tag="t")["run_id"]
    assert ask(target, "backup", "saved", cwd=tmp_path).returncode == 0
    late = client.submit_run("main", {}, tag="t")["run_id"]
    words = ["restore", "saved", "--replace", "--confirm"]
    done = ask(target, *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    pid = gateway.daemon.process.pid
    assert reason(done.stderr).startswith(
        f"ERR-PYOCO-0018 Gateways are running: {socket.gethostname()}:{pid}. Stop them"
    )
    assert client.get_run(late)["status"] == "PENDING"
    assert ask(target, *words, "--despite-gateways", cwd=tmp_path).returncode == 0
    # It goes on with what was restored, and shows nothing else.
    eventually(lambda: listed(client) == [early], what="the list of the backup", timeout_sec=PATIENCE_SEC)
    assert client.submit_run("main", {}, tag="t")["status"] == "PENDING"
    gateway.daemon.stop()
    assert ask(target, *words, cwd=tmp_path).returncode == 0


def test_a_stream_that_a_gateway_makes_again_meanwhile_is_restored_all_the_same(
    target: Clinic, backup: Path, tmp_path: Path
) -> None:
    """A gateway that goes on misses what is removed, and makes it anew at any moment."""
    settings = {"name": LARGE, "subjects": ["$O.pyoco_wheels.>"], "storage": "file"}
    seen: list[object] = []

    def make_once(message: object) -> None:
        seen.append(message)
        if len(seen) == 1:
            subject, inbox = f"$JS.API.STREAM.CREATE.{LARGE}", target.bus.new_inbox()
            target.bus.spawn(target.bus.publish(subject, json.dumps(settings).encode(), inbox))

    target.bus.call(target.bus.subscribe(f"$JS.API.STREAM.RESTORE.{LARGE}", make_once), timeout_sec=5)
    words = ["--stream", LARGE, "--replace", "--confirm", "--despite-gateways"]
    done = ask(target, "restore", str(backup), *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(seen) == 2
    assert streams(target)[LARGE]["messages"] == LARGE_BYTES // PIECE_BYTES


def test_a_backup_that_was_changed_is_refused_before_anything_is_removed(
    source: Clinic, target: Clinic, tmp_path: Path
) -> None:
    words = ["--stream", "pyoco_runs", "--stream", "PYOCO_WORK"]
    assert ask(source, "backup", "some", *words, cwd=tmp_path).returncode == 0
    assert ask(target, "restore", "some", *words, cwd=tmp_path).returncode == 0
    before = contents(target)
    archive = tmp_path / "some" / "PYOCO_WORK.tar.s2"
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    done = ask(target, "restore", "some", "--replace", "--confirm", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not what was saved" in reason(done.stderr)
    assert contents(target) == before
    done = ask(source, "backup", "some", cwd=tmp_path)
    assert done.returncode == 1 and "holds a backup" in reason(done.stderr)


@pytest.mark.long
def test_a_large_stream_goes_through_little_memory(source: Clinic, target: Clinic, tmp_path: Path) -> None:
    small = peak_bytes(source, "backup", str(tmp_path / "small"), "--stream", "pyoco_runs", cwd=tmp_path)
    large = peak_bytes(source, "backup", str(tmp_path / "large"), "--stream", LARGE, cwd=tmp_path)
    assert (tmp_path / "large" / f"{LARGE}.tar.s2").stat().st_size >= LARGE_BYTES
    back = peak_bytes(target, "restore", str(tmp_path / "large"), cwd=tmp_path)
    assert max(large, back) < small + LARGE_BYTES / 3


def peak_bytes(clinic: Clinic, *words: str, cwd: Path) -> int:
    """Run a command to its end, and give the most memory that it had."""
    daemon = Daemon(*nats_command(clinic, *words), cwd=cwd, log=cwd / "log")
    _, status, usage = os.wait4(daemon.process.pid, 0)
    daemon.process.returncode = os.waitstatus_to_exitcode(status)
    assert daemon.process.returncode == 0, daemon.log
    return usage.ru_maxrss * 1024


def _is_midway_or_over(is_midway: Callable[[int], bool], number: int, daemon: Daemon) -> bool:
    return is_midway(number) or daemon.process.poll() is not None


def interrupted(
    begin: Callable[[int], Daemon],
    is_midway: Callable[[int], bool],
    is_done: Callable[[int], bool],
    end: Callable[[Daemon], None],
) -> int:
    """Start a command again and again until it is caught in the midst of its work; give which time that was."""
    for number in range(20):
        daemon = begin(number)
        is_ripe = functools.partial(_is_midway_or_over, is_midway, number, daemon)
        eventually(is_ripe, what="a command in the midst of it", timeout_sec=PATIENCE_SEC)
        end(daemon)
        if not is_done(number):
            return number
    raise AssertionError("the command was always faster")


def kill(daemon: Daemon) -> None:
    daemon.kill()


@pytest.mark.long
def test_a_backup_that_was_killed_is_none_and_can_be_made_anew(
    source: Clinic, target: Clinic, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    folders = [tmp_path / f"try-{number}" for number in range(20)]
    number = interrupted(
        lambda number: start(*nats_command(source, "backup", str(folders[number]))),
        lambda number: (folders[number] / f"{LARGE}.tar.s2").exists(),
        lambda number: (folders[number] / "manifest.json").exists(),
        kill,
    )
    done = ask(target, "restore", str(folders[number]), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "holds no backup, or one that was interrupted" in reason(done.stderr)
    assert ask(source, "backup", str(folders[number]), cwd=tmp_path).returncode == 0
    assert ask(target, "restore", str(folders[number]), cwd=tmp_path).returncode == 0
    assert contents(target) == contents(source)


def test_a_restore_that_was_killed_is_repeated(
    source: Clinic, target: Clinic, backup: Path, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    def begin(number: int) -> Daemon:
        for stream in streams(target):
            target.bus.api(f"STREAM.DELETE.{stream}")
        return start(*nats_command(target, "restore", str(backup)))

    # The queue is first, the wheels are not.
    interrupted(
        begin, lambda number: "KV_pyoco_workflows" in streams(target), lambda number: LARGE in streams(target), kill
    )
    done = ask(target, "restore", str(backup), cwd=tmp_path)
    assert done.returncode == 1 and "--replace --confirm" in reason(done.stderr)
    assert ask(target, "restore", str(backup), "--replace", "--confirm", cwd=tmp_path).returncode == 0
    assert contents(target) == contents(source)


def test_a_backup_in_which_the_server_dies_ends_with_a_reason(
    backup: Path, target: Clinic, nats: NatsServer, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    run(*nats_command(target, "restore", str(backup)), cwd=tmp_path)
    ended: list[Daemon] = []

    def end(daemon: Daemon) -> None:
        nats.stop(signal.SIGKILL)
        daemon.process.wait(PATIENCE_SEC)
        nats.start()
        ended.append(daemon)

    interrupted(
        lambda number: start(*nats_command(target, "backup", f"try-{number}")),
        lambda number: (tmp_path / f"try-{number}" / f"{LARGE}.tar.s2").exists(),
        lambda number: (tmp_path / f"try-{number}" / "manifest.json").exists(),
        end,
    )
    assert ended[-1].process.returncode == 1
    assert "ERR-PYOCO-0003 " in ended[-1].log


def test_one_folder_is_named(source: Clinic, tmp_path: Path) -> None:
    for words in (("backup",), ("restore", "a", "--input", "b")):
        done = run(*nats_command(source, *words), cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert "name one folder" in reason(done.stderr)
