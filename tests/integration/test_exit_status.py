"""``pyoco-client watch --exit-status``: the end of a run as the status of the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyoco_server.states import RunStatus
from tests.support.commands import run
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts


@pytest.mark.parametrize(
    ("status", "error", "exit_status", "words"),
    [
        (RunStatus.COMPLETED, None, 0, ""),
        (RunStatus.FAILED, "no \x1b[31mroom", 1, "ERR-PYOCO-RUN Run {} ended as FAILED: no \\x1b[31mroom\n"),
        (RunStatus.CANCELLED, None, 1, "ERR-PYOCO-RUN Run {} ended as CANCELLED.\n"),
    ],
)
def test_a_run_that_has_ended_gives_the_status(
    shared: LocalGateway,
    shared_parts: Parts,
    tmp_path: Path,
    status: RunStatus,
    error: str | None,
    exit_status: int,
    words: str,
) -> None:
    run_id = shared.submit()
    shared_parts.change(run_id, status=RunStatus.CANCELLING)
    shared_parts.put(run_id, {**shared_parts.snapshot(run_id), "status": status.value, "error": error})
    watch = ("pyoco-client", "--server", shared.url, "watch", run_id, "--until-terminal", "--output", "status")
    plain, strict = (run(*watch, *flags, cwd=tmp_path) for flags in ((), ("--exit-status",)))
    assert (plain.returncode, plain.stderr) == (0, "")
    assert (strict.returncode, strict.stderr) == (exit_status, words.format(run_id))
    assert strict.stdout.split("\t")[2] == status


@pytest.mark.long
@pytest.mark.parametrize("flags", [("--max-events", "1"), ("--until-terminal", "--timeout-sec", "1")])
@pytest.mark.parametrize("since", [(), ("--since", "9999999999")])
def test_a_run_that_goes_on_has_not_completed(
    shared: LocalGateway, tmp_path: Path, flags: tuple[str, ...], since: tuple[str, ...]
) -> None:
    run_id = shared.submit()
    done = run("pyoco-client", "--server", shared.url, "watch", run_id, "--exit-status", *flags, *since, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, f"ERR-PYOCO-RUN Run {run_id} has not ended; it is PENDING.\n")


@pytest.mark.parametrize("flags", [("--exit-status",), ("--until-terminal",), ("--until-terminal", "--exit-status")])
def test_a_run_that_ended_before_the_time_watched_from_counts_as_it_ended(
    shared: LocalGateway, shared_parts: Parts, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    run_id = shared.submit()
    shared_parts.end(run_id)
    watch = ("pyoco-client", "--server", shared.url, "watch", run_id, "--since", "9999999999", *flags)
    done = run(*watch, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
