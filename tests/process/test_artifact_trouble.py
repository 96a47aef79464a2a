"""Files of runs, and bad luck: limits, the death of a worker in the middle of an upload, NATS gone, many at once."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from tests.process.conftest import Town
from tests.support.artifacts import Files, marks, saving
from tests.support.crew import Crew
from tests.support.fleet import QUICK, flow, is_alive, printed
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

LARGE_BYTES = 80_000 * 1024


@pytest.fixture
def files(town: Town) -> Files:
    return Files(town.fleet)


def is_under_way(files: Files) -> bool:
    """Say whether the first pieces of a large file are in the store."""
    return files.pieces() >= 20


def test_a_file_that_is_too_large_is_refused_before_it_is_read(town_crew: Crew, files: Files) -> None:
    worker = town_crew.hire("only", PYOCO_ARTIFACT_MAX_BYTES="500000")
    run = town_crew.fleet.ended(town_crew.submit(saving("save_huge")))
    assert files.named(run["run_id"]) == {"small.txt": b"small"}
    said = "artifact sparse.bin is not kept: it has 1099511627776 bytes, and 500000 are the most"
    assert f"{said} (PYOCO_ARTIFACT_MAX_BYTES)" in [line for _, line in printed(worker, run["run_id"])]


def test_what_a_run_saves_beyond_its_share_is_not_kept_and_said(town_crew: Crew, files: Files) -> None:
    worker = town_crew.hire("only", PYOCO_RUN_ARTIFACTS_MAX_BYTES="1000000")
    run = town_crew.fleet.ended(town_crew.submit(saving("save_many_bytes")))
    assert sorted(files.named(run["run_id"])) == ["part-0.bin", "part-1.bin"]
    reason = "it has 400000 bytes, and of the 1000000 of this attempt 800000 are taken (PYOCO_RUN_ARTIFACTS_MAX_BYTES)"
    said = marks(run, "save_many_bytes")
    assert [said[f"part-{number}.bin"]["kept"] for number in range(5)] == [True, True, False, False, False]
    assert {said[f"part-{number}.bin"]["reason"] for number in (2, 3, 4)} == {reason}
    told = [(task, line) for task, line in printed(worker, run["run_id"])]
    assert ("save_many_bytes", f"artifact part-4.bin is not kept: {reason}") in told


def test_an_output_that_no_file_may_hold_is_said_to_be_lost(town_crew: Crew, files: Files) -> None:
    worker = town_crew.hire("only", PYOCO_ARTIFACT_MAX_BYTES="400000")
    run = town_crew.fleet.ended(town_crew.submit(saving("much_text"), params={"size": 300_000}))
    assert files.named(run["run_id"]) == {}
    ((task, line),) = printed(worker, run["run_id"])
    assert task == "much_text" and "is not kept as a whole: it has 600000 bytes, and 400000 are the most" in line


@pytest.mark.long
def test_the_death_of_a_worker_in_an_upload_leaves_whole_files_alone(town_crew: Crew, files: Files) -> None:
    fleet = town_crew.fleet
    first = town_crew.hire("first", **QUICK)
    run_id = town_crew.submit(saving("report >> save_large"), params={"size": LARGE_BYTES})
    fleet.wait_until(lambda: is_under_way(files), "the middle of an upload", 60)
    first.kill()
    # Whatever is offered can be read as a whole.
    assert files.of(run_id).keys() >= {("report.html", 1), ("data/rows.csv", 1), ("data/raw", 1), ("summary", 1)}
    town_crew.hire("second", **QUICK)
    run = fleet.ended(run_id, timeout_sec=60)
    assert run["attempt"] == 2
    kept = files.of(run_id)
    assert sorted(name for name, attempt in kept if attempt == 2) == sorted(
        ["report.html", "data/rows.csv", "data/raw", "summary", "large.bin"]
    )
    assert len(kept["large.bin", 2]) == LARGE_BYTES
    assert ("report.html", 1) in kept
    assert marks(run, "save_large")["large.bin"]["kept"] is True


@pytest.mark.long
def test_a_run_that_keeps_a_large_file_gives_signs_of_life_and_is_not_taken_over(town_crew: Crew, files: Files) -> None:
    fleet = town_crew.fleet
    first = town_crew.hire("first", **{**QUICK, "PYOCO_RUN_HEARTBEAT_INTERVAL_SEC": "0.05"})
    run_id = town_crew.submit(saving("save_large"), params={"size": LARGE_BYTES})
    fleet.wait_until(lambda: is_under_way(files), "the middle of an upload", 60)
    town_crew.hire("second", **QUICK)
    run = fleet.ended(run_id, timeout_sec=60)
    assert (run["attempt"], run["worker_id"]) == (1, first.worker_id)


@pytest.mark.long
def test_signs_of_life_go_on_while_files_of_a_run_that_has_ended_are_kept(town_crew: Crew, files: Files) -> None:
    fleet = town_crew.fleet
    town_crew.hire("only", PYOCO_RUN_HEARTBEAT_INTERVAL_SEC="0.05")
    run_id = town_crew.submit(saving("save_large"), params={"size": LARGE_BYTES})
    seen: set[float] = set()

    def is_over() -> bool:
        run = fleet.run(run_id)
        if run["status"] == "RUNNING" and run["tasks"] == {"save_large": "SUCCEEDED"}:
            seen.add(run["heartbeat_at"])
        return run["status"] == "COMPLETED"

    fleet.wait_until(is_over, "the end of the run", 60)
    assert len(seen) >= 2


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_file_is_kept_as_a_whole_when_nats_goes_and_comes_back_in_the_middle_of_it(
    crew: Crew, nats: NatsServer, number: signal.Signals
) -> None:
    files = Files(crew.fleet)
    crew.hire("only")
    run_id = crew.submit(saving("report >> save_large"), params={"size": LARGE_BYTES})
    crew.fleet.wait_until(lambda: is_under_way(files), "the middle of an upload", 60)
    nats.stop(number)
    nats.start()
    run = crew.fleet.ended(run_id, timeout_sec=90)
    kept = files.named(run_id)
    assert len(kept) == 5 and len(kept["large.bin"]) == LARGE_BYTES
    assert marks(run, "save_large")["large.bin"]["sha256"] == files.store.get(run_id, "large.bin").info.sha256_hex


@pytest.mark.long
def test_a_run_ends_without_its_files_when_nats_takes_its_snapshots_alone(crew: Crew) -> None:
    Files(crew.fleet)
    worker = crew.hire("only")
    crew.fleet.bus.api("STREAM.DELETE.OBJ_pyoco_artifacts")
    run = crew.fleet.ended(crew.submit(saving("report")), timeout_sec=90)
    assert {mark["kept"] for mark in marks(run, "report").values()} == {False}
    said = " ".join(line for _, line in printed(worker, run["run_id"]))
    assert "is not kept: NATS has taken nothing of it for 20 s" in said


def too_large(crew: Crew) -> tuple[str, int]:
    """Have a run whose files NATS does not take, and have another program of the fleet, with a larger cap, write more
    into it than its worker may; gives its id and the process that executes it."""
    Files(crew.fleet)
    crew.hire("only", PYOCO_MAX_RUN_SNAPSHOT_BYTES="16384")
    crew.fleet.bus.api("STREAM.DELETE.OBJ_pyoco_artifacts")
    run_id = crew.submit(flow("report >> hold", report="saving_tasks:report"), params={"name": crew.tag})
    (runner,) = crew.wait_for_begin()
    crew.fleet.change(run_id, params={"text": "p" * 16_384})
    return run_id, runner


def test_a_run_whose_snapshot_has_become_too_large_does_nothing_more_while_its_files_are_kept(crew: Crew) -> None:
    run_id, runner = too_large(crew)
    crew.fleet.wait_until(lambda: not is_alive(runner), "the end of the process", 60)
    assert crew.fleet.run(run_id)["status"] == "RUNNING"
    ensure_resources(crew.fleet.bus, Config.from_env({}))
    run = crew.fleet.ended(run_id, "FAILED", timeout_sec=60)
    assert "PYOCO_MAX_RUN_SNAPSHOT_BYTES is 16384" in run["error"]


@pytest.mark.long
def test_a_run_whose_snapshot_is_too_large_ends_without_its_files_where_nats_takes_none(crew: Crew) -> None:
    run_id, _ = too_large(crew)
    crew.fleet.ended(run_id, "FAILED", timeout_sec=90)


def test_twenty_runs_at_once_keep_theirs_apart(town_crew: Crew, files: Files) -> None:
    town_crew.hire("many", "--concurrency", "4")
    sizes = [number * 50_000 // 1024 * 1024 for number in range(20)]
    run_ids = [town_crew.submit(saving("report >> save_large"), params={"size": size}) for size in sizes]
    for run_id, size in zip(run_ids, sizes, strict=True):
        town_crew.fleet.ended(run_id, timeout_sec=90)
        kept = files.named(run_id)
        assert len(kept) == 5 and len(kept["large.bin"]) == size


def test_nothing_of_a_worker_holds_files_open_after_its_runs(town_crew: Crew, files: Files) -> None:
    worker = town_crew.hire("only", PYOCO_ARTIFACT_MAX_BYTES="500000")
    place = f"/proc/{worker.process.pid}/fd"
    for _ in range(2):
        town_crew.fleet.ended(town_crew.submit(saving("save_hostile >> save_huge")), timeout_sec=60)

    def held() -> list[str]:
        """Give what is open of runs; a descriptor may be closed while it is looked at."""
        found = []
        for name in os.listdir(place):
            with contextlib.suppress(FileNotFoundError):
                found.append(os.readlink(f"{place}/{name}"))
        return [link for link in found if "/artifacts" in link]

    # The folder of the last run is just being removed.
    eventually(lambda: not held(), what="the end of all that was open")
