"""What a run has printed is kept when its worker, its process or NATS goes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from pyoco_server.contract.runner_protocol import Begin
from pyoco_server.stores.logs import LogStore
from pyoco_server.worker.printed import Printed
from tests.support.crew import Crew
from tests.support.fleet import QUICK, Fleet, flow
from tests.support.nats import NatsServer
from tests.support.runners import booted_runner
from tests.support.waiting import eventually

_LINES = [f"line {number}\n" for number in range(1000)]


def _texts(fleet: Fleet, run_id: str) -> list[str]:
    return [entry["text"] for entry in fleet.log(run_id)]


@pytest.mark.long
def test_what_a_killed_worker_had_printed_is_kept_and_the_next_attempt_follows(crew: Crew) -> None:
    worker = crew.hire("first", **QUICK)
    run_id = crew.submit(flow("print_and_hold"), params={"name": crew.tag})
    eventually(lambda: _texts(crew.fleet, run_id) == _LINES, what="what the run has printed")
    worker.process.kill()
    crew.hire("second", **QUICK)
    crew.wait_for_begin(2)
    crew.let_go()
    crew.fleet.ended(run_id)
    entries = crew.fleet.log(run_id)
    assert [entry["text"] for entry in entries] == _LINES * 2
    assert [entry["seq"] for entry in entries] == [*range(1000), *range(1_000_000_000, 1_000_001_000)]


def test_what_a_killed_runner_had_printed_is_kept(crew: Crew) -> None:
    crew.hire("first")
    run_id = crew.submit(flow("print_and_exit", print_and_exit="sample_tasks:print_and_exit"))
    run = crew.fleet.ended(run_id, "FAILED")
    assert _texts(crew.fleet, run_id) == ["last words\n"]
    assert run["last_lines"] == "last words\n"


def test_what_a_runner_had_printed_that_is_killed_can_still_be_read(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fleet.folder)
    with booted_runner() as child:
        child.send(Begin("r", "main", {"name": "go"}, flow("print_and_hold"), str(tmp_path), 1000, 1000))
        fleet.wait_for_file("go.begun")
    found = child.receive(0)
    assert "".join(printed.text for printed in found if isinstance(printed, Printed)) == "".join(_LINES)


def test_a_batch_that_is_sent_again_is_kept_once(fleet: Fleet) -> None:
    entries = [{"seq": 0, "task": "t", "stream": "stdout", "text": "once\n", "timestamp": 1.0}]
    for _ in range(2):
        LogStore(fleet.bus).append("r", 1, entries, batch_id="r.0")
    assert fleet.log("r") == entries


@pytest.mark.long
def test_what_a_run_printed_that_was_ended_by_force_is_kept(crew: Crew) -> None:
    crew.hire("first", PYOCO_RUN_TIMEOUT_SEC="1")
    run_id = crew.submit(flow("print_and_hold"), params={"name": crew.tag})
    run = crew.fleet.ended(run_id, "FAILED")
    assert _texts(crew.fleet, run_id) == _LINES
    assert run["last_lines"].endswith("line 999\n")


def test_what_is_printed_while_nats_is_away_is_kept_when_it_is_back(crew: Crew, nats: NatsServer) -> None:
    crew.hire("first")
    run_id = crew.submit_held("hold >> print_side_a")
    crew.wait_for_begin()
    nats.stop(signal.SIGKILL)
    crew.let_go()
    crew.fleet.wait_for_file("printed-side-a")
    nats.start()
    crew.fleet.ended(run_id, timeout_sec=60)
    assert _texts(crew.fleet, run_id) == [f"a{number}\n" for number in range(50)]


@pytest.mark.long
def test_the_end_of_a_run_waits_for_its_log_and_signs_of_life_go_on_meanwhile(crew: Crew) -> None:
    fleet = crew.fleet
    crew.hire("first", PYOCO_RUN_HEARTBEAT_INTERVAL_SEC="0.05")
    fleet.bus.api("STREAM.DELETE.PYOCO_LOGS")
    run_id = crew.submit(flow("print_side_a"))
    beats: set[float] = set()

    def is_held_or_over() -> bool:
        run = fleet.run(run_id)
        if run["tasks"] == {"print_side_a": "SUCCEEDED"}:
            beats.add(run["heartbeat_at"])
        return len(beats) >= 3 or fleet.is_over(run_id)

    fleet.wait_until(is_held_or_over, "signs of life of a run whose tasks have ended", 60)
    assert fleet.run(run_id)["status"] == "RUNNING"
    ensure_resources(fleet.bus, Config.from_env({}))
    fleet.wait_until(lambda: fleet.is_over(run_id), "the end of the run", 60)
    assert len(_texts(fleet, run_id)) == 50


@pytest.mark.long
def test_a_run_ends_without_its_log_when_nats_takes_its_snapshots_alone(crew: Crew) -> None:
    worker = crew.hire("first")
    crew.fleet.bus.api("STREAM.DELETE.PYOCO_LOGS")
    crew.fleet.ended(crew.submit(flow("print_side_a")), timeout_sec=90)
    worker.wait_for_log("a run ends before its log is kept: NATS has taken nothing of it for 20 s")


def test_who_sees_the_end_of_a_run_finds_all_that_it_printed(crew: Crew) -> None:
    crew.hire("first", "--concurrency", "2")
    for run_id in [crew.submit(flow("print_side_a")) for _ in range(20)]:
        crew.fleet.wait_until(lambda run_id=run_id: crew.fleet.is_over(run_id), "the end of the run")
        assert len(_texts(crew.fleet, run_id)) == 50


def test_the_limit_of_a_run_holds_for_all_its_tasks(crew: Crew) -> None:
    crew.hire("first", PYOCO_LOGS_RUN_MAX_BYTES="8000")
    run_id = crew.submit(flow("print_side_a >> print_side_b"))
    crew.fleet.ended(run_id)
    texts = _texts(crew.fleet, run_id)
    assert texts[:50] == [f"a{number}\n" for number in range(50)]
    # Each line counts a hundred bytes more; the end is so short that nothing of it is left out.
    assert "[the 8000 bytes of a run (PYOCO_LOGS_RUN_MAX_BYTES) are full: " in texts.pop(77)
    assert texts[50:] == [f"b{number}\n" for number in range(50)]
