"""``pyoco-client logs``, and pyoco's own ``pyoco runs logs``, as a user types them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Gateway
from tests.support.commands import BIN, Daemon, Daemons, clean_env, reason, run
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.printed import append, entry
from tests.support.waiting import eventually

LINES = [
    "2026-11-22T00:25:01.000Z a stdout | line 0",
    "2026-11-22T00:25:01.125Z a stdout | \\x1b[31mred",
    "2026-11-22T00:25:01.250Z - stderr | \u5730\u9707 e\u0301",
]
ENTRIES = [entry(0), entry(1, "\x1b[31mred\n"), entry(2, "\u5730\u9707 e\u0301", task=None, stream="stderr")]

Client = Callable[..., "subprocess.CompletedProcess[str]"]


class Archive:
    """A gateway without workers, and runs that the test itself writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons = Daemons(folder)
        self._nats = NatsServer(folder / "nats").start()
        self.gateway = Gateway(self._daemons.start, self._nats)
        self.parts = Parts(self._nats.url)
        self.parts.__enter__()

    def close(self) -> None:
        self.parts.__exit__(None, None, None)
        self._daemons.close()
        self._nats.stop()

    def run(self, run_id: str, status: str, *entries: dict[str, object]) -> str:
        """Store a run that has printed this; gives its id."""
        append(self.parts, run_id, *entries)
        self.parts.put(run_id, stored_run(run_id, status=status))
        return run_id

    def client(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return run("pyoco-client", "--server", self.gateway.url, *words, cwd=self.folder, PYTHONUTF8="1", **env)

    def start(self, *command: str) -> Daemon:
        return self._daemons.start(*command, PYTHONUTF8="1")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    made = Archive(tmp_path_factory.mktemp("archive"))
    yield made
    made.close()


def test_logs_are_lines_on_stdout_or_the_answer_as_json(archive: Archive) -> None:
    run_id = archive.run("plain", "COMPLETED", *ENTRIES)
    done = archive.client("logs", run_id)
    assert (done.returncode, done.stderr, done.stdout.splitlines()) == (0, "", LINES)
    assert archive.client("logs", run_id, "--follow").stdout.splitlines() == LINES
    assert archive.client("logs", run_id, "--task", "a", "--tail", "1").stdout.splitlines() == LINES[1:2]
    answer = json.loads(archive.client("logs", run_id, "--output", "json").stdout)
    assert answer == {"run_status": "COMPLETED", "logs": ENTRIES, "is_cut": False}
    followed = archive.client("logs", run_id, "--follow", "--output", "json", "--tail", "1").stdout.splitlines()
    assert [json.loads(line) for line in followed] == [
        {"event": "log", "data": ENTRIES[2]},
        {"event": "end", "data": {"run_id": run_id, "run_status": "COMPLETED"}},
    ]


def test_following_prints_lines_as_they_come_and_ends_with_the_run(archive: Archive) -> None:
    run_id = archive.run("followed", "RUNNING", ENTRIES[0])
    daemon = archive.start("pyoco-client", "--server", archive.gateway.url, "logs", run_id, "--follow")
    theirs = archive.start("pyoco", "runs", "logs", run_id, "--follow", "--server", archive.gateway.url)
    daemon.wait_for_log("line 0")
    append(archive.parts, run_id, ENTRIES[1])
    daemon.wait_for_log("red")
    append(archive.parts, run_id, ENTRIES[2])
    archive.parts.put(run_id, stored_run(run_id, status="FAILED"))
    assert daemon.process.wait(30) == 0
    assert daemon.log.splitlines() == LINES
    # As pyoco has it: a run that failed is its failure.
    assert theirs.process.wait(30) == 1
    assert theirs.log.splitlines() == [
        "[a][stdout] line 0",
        "[a][stdout] \x1b[31mred",
        "[None][stderr] \u5730\u9707 e\u0301",
    ]


@pytest.mark.parametrize("flags", [(), ("--follow",)])
def test_the_exit_status_is_that_of_the_run_where_it_is_asked_for(archive: Archive, flags: tuple[str, ...]) -> None:
    run_id = archive.run(f"failed{len(flags)}", "FAILED", entry(0))
    assert archive.client("logs", run_id, *flags).returncode == 0
    done = archive.client("logs", run_id, "--exit-status", *flags)
    assert (done.returncode, done.stderr) == (1, f"ERR-PYOCO-RUN Run {run_id} ended as FAILED.\n")
    assert done.stdout.splitlines() == LINES[:1]


def test_following_ends_in_time_and_says_that_the_run_has_not(archive: Archive) -> None:
    run_id = archive.run("endless", "RUNNING", entry(0))
    done = archive.client("logs", run_id, "--follow", "--timeout-sec", "1")
    assert (done.returncode, done.stdout.splitlines()) == (0, LINES[:1])
    assert done.stderr == f"pyoco-client: run {run_id} has not ended\n"
    done = archive.client("logs", run_id, "--follow", "--timeout-sec", "1", "--exit-status")
    assert (done.returncode, done.stderr) == (1, f"ERR-PYOCO-RUN Run {run_id} has not ended; it is RUNNING.\n")


def test_what_cannot_be_read_is_said_with_an_example(archive: Archive) -> None:
    for words in (("logs", "nobody"), ("logs", "nobody", "--follow")):
        done = archive.client(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert reason(done.stderr).startswith("ERR-PYOCO-HTTP HTTP 404 GET /runs/nobody/logs")
    for words in (("logs", "r", "--tail", "0"), ("logs",), ("logs", "r", "--timeout-sec", "5")):
        done = archive.client(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert reason(done.stderr).startswith("ERR-PYOCO-0018")


def test_a_reader_that_has_read_enough_ends_the_command_in_silence(archive: Archive) -> None:
    run_id = archive.run("long", "RUNNING", *(entry(seq, "x" * 100) for seq in range(20_000)))
    for flags in ([], ["--follow"]):
        with subprocess.Popen(
            [BIN / "pyoco-client", "--server", archive.gateway.url, "logs", run_id, *flags],
            env=clean_env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline().endswith(b"xxx\n")
            process.stdout.close()
            # One that follows notices when it prints again.
            append(archive.parts, run_id, *(entry(seq, "y" * 100) for seq in range(20_000, 20_100)))
            assert (process.wait(30), process.stderr.read()) == (0, b"")


def test_following_goes_on_over_a_restart_of_the_gateway_and_neither_misses_nor_repeats_a_line(
    archive: Archive,
) -> None:
    run_id = archive.run("restarted", "RUNNING", entry(0), entry(1))
    daemon = archive.start("pyoco-client", "--server", archive.gateway.url, "logs", run_id, "--follow")
    daemon.wait_for_log("line 1")
    archive.gateway.daemon.kill()
    append(archive.parts, run_id, entry(2))
    archive.gateway.restart()
    daemon.wait_for_log("line 2", timeout_sec=40)
    append(archive.parts, run_id, entry(3))
    archive.parts.put(run_id, stored_run(run_id, status="COMPLETED"))
    eventually(lambda: daemon.process.poll() is not None, what="the end of the command", timeout_sec=40)
    assert daemon.process.returncode == 0
    assert [line.partition("| ")[2] for line in daemon.log.splitlines()] == [f"line {seq}" for seq in range(4)]
