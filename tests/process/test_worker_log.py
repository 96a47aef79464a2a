"""What a worker's log says of what goes wrong: which run, where, why, and the id under which a user finds more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.commands import Daemon
from tests.support.crew import Crew
from tests.support.fleet import QUICK, flow, lines
from tests.support.nats import NatsServer
from tests.support.waiting import eventually


def about(worker: Daemon, err_id: str) -> list[dict[str, Any]]:
    """Give the lines of a log that have this id."""
    return [line for line in lines(worker) if line.get("err_id") == err_id]


@pytest.mark.parametrize(
    ("graph", "err_id", "reason"),
    [
        ("fail", "ERR-PYOCO-0007", "execution_error"),
        ("kill_itself", "ERR-PYOCO-0007", "worker_process_died"),
        (None, "ERR-PYOCO-0006", "flow_not_found"),
    ],
)
def test_run_that_fails_is_one_line_with_all_that_is_known_of_it(
    town_crew: Crew, graph: str | None, err_id: str, reason: str
) -> None:
    worker = town_crew.hire("only")
    run_id = town_crew.submit(flow(graph) if graph else None)
    run = town_crew.fleet.ended(run_id, "FAILED")
    (line,) = eventually(lambda: about(worker, err_id), what="the line")
    assert line["message"] == f"a run failed: {run['error']}"
    known = {"run_id": run_id, "flow_name": run["flow_name"], "tag": town_crew.tag, "worker_id": worker.worker_id}
    assert {**known, "reason": reason, "level": "ERROR", "service": "pyoco-server:worker"}.items() <= line.items()
    assert {line["worker_id"] for line in lines(worker)} == {worker.worker_id}


def test_attempt_that_is_followed_by_another_is_a_warning(town_crew: Crew) -> None:
    worker = town_crew.hire("only")
    fleet = town_crew.fleet
    job = fleet.store_pending(flow("fail"), tag=town_crew.tag)
    fleet.change(job.run_id, max_attempts=2, retry_delay_sec=3600)
    fleet.queue(job.to_bytes(), tag=town_crew.tag)
    (line,) = eventually(lambda: about(worker, "ERR-PYOCO-0007"), what="the line")
    assert (line["level"], line["run_id"]) == ("WARNING", job.run_id)
    assert line["message"].startswith("attempt 1 of a run failed, and it is tried again: ")


def test_leases_that_cannot_be_renewed_are_told_while_nats_is_away(crew: Crew, nats: NatsServer) -> None:
    worker = crew.hire("only", **QUICK)
    run_id = crew.submit_held()
    crew.wait_for_begin()
    nats.stop()
    eventually(lambda: about(worker, "ERR-PYOCO-0009"), what="the line")
    nats.start()
    crew.let_go()
    crew.fleet.ended(run_id)


@pytest.mark.long
def test_dead_letter_that_cannot_be_published_is_told_and_comes_later(crew: Crew) -> None:
    fleet = crew.fleet
    worker = crew.hire("only", **QUICK)
    config = fleet.bus.api("STREAM.INFO.PYOCO_DLQ")["config"]
    # Its subjects are nobody's any more, so nobody answers.
    fleet.bus.api("STREAM.UPDATE.PYOCO_DLQ", {**config, "subjects": ["elsewhere"]})
    run_id = crew.submit(flow("fail"))
    line = eventually(lambda: about(worker, "ERR-PYOCO-0011"), what="the line")[0]
    assert (line["run_id"], line["tag"], line["reason"]) == (run_id, crew.tag, "execution_error")
    fleet.bus.api("STREAM.UPDATE.PYOCO_DLQ", config)
    eventually(lambda: len(fleet.dead_letters(run_id)) == 1, what="the dead letter", timeout_sec=60)
