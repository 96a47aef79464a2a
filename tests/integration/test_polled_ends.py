"""How runs end that were handed out over HTTP: as those of any worker do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoco_server.states import RunStatus
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts
from tests.support.polling import NOTHING, beat, dead_letters, poll, read
from tests.support.waiting import eventually

FAILURE = {"a": {"state": "FAILED", "started_at": 1.0, "ended_at": 2.0, "duration_ms": 1000.0, "error": "boom"}}


def begun(local: LocalGateway, tag: str, **fields: object) -> str:
    run_id = local.submit("f", tag=tag, **fields)
    assert poll(local, tag)["run_id"] == run_id
    return run_id


def cancel(local: LocalGateway, run_id: str) -> None:
    assert local.ask("POST", f"/runs/{run_id}/cancel").json()["status"] == "CANCELLING"


def queued(parts: Parts, tag: str) -> int:
    return sum(job.subject == f"pyoco.work.{tag}" for job in parts.jobs())


def test_a_cancelled_run_ends_when_its_worker_has_heard_of_it(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = begun(shared, "cancel")
    assert beat(shared, run_id, task_states={"a": "RUNNING"}) is False
    cancel(shared, run_id)
    assert beat(shared, run_id, task_states={"a": "RUNNING"}) is True
    assert read(shared, run_id)["status"] == "CANCELLING"
    assert beat(shared, run_id, "CANCELLED", task_states={"a": "CANCELLED"}) is False
    ended = read(shared, run_id)
    assert (ended["status"], ended["error"], ended["tasks"]) == ("CANCELLED", None, {"a": "CANCELLED"})
    assert ended["cancel_requested_at"] is not None
    assert not ended.keys() & {"lease_until", "lease_reply", "timeout_at"}
    assert queued(shared_parts, "cancel") == 0
    assert beat(shared, run_id) is True


@pytest.mark.parametrize(
    ("state", "status"), [("SUCCEEDED", "CANCELLED"), ("CANCELLED", "CANCELLED"), ("RUNNING", "CANCELLING")]
)
def test_a_worker_that_hears_of_the_cancel_in_the_last_task_leaves_the_run_at_that(
    shared: LocalGateway, state: str, status: str
) -> None:
    run_id = begun(shared, f"last-{state}")
    assert beat(shared, run_id, "CANCELLING", task_states={"a": state}) is False
    assert read(shared, run_id)["status"] == "RUNNING", "nobody has cancelled it"
    cancel(shared, run_id)
    beat(shared, run_id, "CANCELLING", task_states={"a": state})
    assert read(shared, run_id)["status"] == status


def test_a_run_that_is_over_before_its_worker_hears_of_the_cancel_is_completed(shared: LocalGateway) -> None:
    run_id = begun(shared, "over")
    cancel(shared, run_id)
    assert beat(shared, run_id, "COMPLETED", task_states={"a": "SUCCEEDED"}) is False
    assert read(shared, run_id)["status"] == "COMPLETED"


def test_a_cancelled_run_whose_worker_is_silent_is_cancelled_after_the_grace_period(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    local = serve(PYOCO_CANCEL_GRACE_PERIOD_SEC="1")
    local.wait_until_complete()
    run_id = begun(local, "silent")
    cancel(local, run_id)
    eventually(lambda: read(local, run_id)["status"] == "CANCELLED", what="the run being cancelled")
    eventually(lambda: not parts.jobs(), what="the end of its job")
    assert beat(local, run_id, task_states={"a": "RUNNING"}) is True


def test_a_run_that_fails_is_tried_again_by_its_policy(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = begun(shared, "retry", max_attempts=2, retry_delay_sec=0)
    assert beat(shared, run_id, "FAILED", task_states={"a": "FAILED"}, task_records=FAILURE) is False
    again = eventually(lambda: poll(shared, "retry")["run_id"], what="the next attempt")
    run = read(shared, run_id)
    assert (again, run["attempt"], run["tasks"], run["task_records"]) == (run_id, 2, {"a": "PENDING"}, {})
    assert [(failure["attempt"], failure["error"]) for failure in run["errors"]] == [(1, "boom")]
    beat(shared, run_id, "FAILED", task_states={"a": "FAILED"}, task_records=FAILURE)
    run = read(shared, run_id)
    assert (run["status"], run["error"]) == ("FAILED", "boom")
    letters = [letter for letter in dead_letters(shared_parts) if letter.subject == "pyoco.dlq.retry"]
    assert len(letters) == 1
    assert queued(shared_parts, "retry") == 0


def test_a_run_that_fails_shows_the_end_of_what_it_printed(shared: LocalGateway) -> None:
    run_id = begun(shared, "last-lines")
    printed = [{"seq": 0, "text": "first\n" * 30}, {"seq": 1, "text": "last\n"}]
    beat(shared, run_id, task_states={"a": "RUNNING"}, logs=printed)
    beat(shared, run_id, "FAILED", task_states={"a": "FAILED"}, task_records=FAILURE)
    assert read(shared, run_id)["last_lines"] == "first\n" * 19 + "last\n"


def test_a_run_that_waits_for_its_retry_is_not_handed_out(shared: LocalGateway) -> None:
    run_id = begun(shared, "waits", max_attempts=2, retry_delay_sec=3600)
    beat(shared, run_id, "FAILED", task_states={"a": "FAILED"}, task_records=FAILURE)
    assert read(shared, run_id)["status"] == "PENDING"
    assert poll(shared, "waits") == NOTHING
    assert beat(shared, run_id, task_states={"a": "RUNNING"}) is True


def test_a_run_that_takes_too_long_fails_and_its_worker_is_told_to_stop(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    run_id = begun(shared, "limit", timeout_sec=2)
    assert beat(shared, run_id, task_states={"a": "RUNNING"}) is False
    eventually(lambda: read(shared, run_id)["status"] == "FAILED", what="the end of its time")
    run = read(shared, run_id)
    assert (run["error"], run["tasks"]) == ("timeout: the run took longer than its 2 s.", {"a": "FAILED"})
    assert beat(shared, run_id, task_states={"a": "RUNNING"}) is True
    assert beat(shared, run_id, "COMPLETED", task_states={"a": "SUCCEEDED"}) is False
    assert read(shared, run_id) == run
    letters = [letter for letter in dead_letters(shared_parts) if letter.subject == "pyoco.dlq.limit"]
    assert len(letters) == 1 and b'"reason": "timeout"' in letters[0].payload
    assert queued(shared_parts, "limit") == 0


def test_the_gateways_own_time_limit_holds_where_the_submission_names_none(
    serve: Callable[..., LocalGateway],
) -> None:
    local = serve(PYOCO_RUN_TIMEOUT_SEC="2")
    local.wait_until_complete()
    limited, free = begun(local, "a"), begun(local, "b", timeout_sec=0)
    eventually(lambda: read(local, limited)["status"] == "FAILED", what="the end of its time")
    assert read(local, free)["status"] == "RUNNING"
    assert beat(local, free) is False


@pytest.mark.long
def test_a_run_that_took_too_long_is_tried_again_by_its_policy(shared: LocalGateway) -> None:
    run_id = begun(shared, "limits", timeout_sec=2, max_attempts=2, retry_delay_sec=0)
    again = eventually(lambda: poll(shared, "limits")["run_id"], what="the next attempt")
    assert (again, read(shared, run_id)["attempt"]) == (run_id, 2)
    eventually(lambda: read(shared, run_id)["status"] == "FAILED", what="the end of its last attempt")
    run = read(shared, run_id)
    # Which had as much time again.
    assert run["end_time"] - run["errors"][0]["ended_at"] >= 2


def test_a_rerun_is_handed_out_like_any_run(shared: LocalGateway) -> None:
    run_id = begun(shared, "rerun", params={"x": 7})
    beat(shared, run_id, "FAILED", task_states={"a": "FAILED"}, task_records=FAILURE)
    answer = shared.ask("POST", f"/runs/{run_id}/rerun", json={"from": "failed"})
    assert poll(shared, "rerun") == {"run_id": answer.json()["run_id"], "flow_name": "f", "params": {"x": 7}}


def test_a_run_with_more_tasks_than_a_snapshot_holds_fails_at_once(shared: LocalGateway) -> None:
    run_id = begun(shared, "many")
    tasks = {f"{number:0200}": "RUNNING" for number in range(2_000)}
    assert beat(shared, run_id, task_states=tasks) is True
    run = read(shared, run_id)
    assert run["status"] == "FAILED" and "PYOCO_MAX_RUN_SNAPSHOT_BYTES" in run["error"]


def test_two_ends_at_once_are_one(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = begun(shared, "race")
    statuses = ["COMPLETED", "FAILED"] * 4

    def end(status: str) -> bool:
        return beat(shared, run_id, status, task_states={"a": "FAILED"}, task_records=FAILURE)

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(end, statuses))
    status = RunStatus(read(shared, run_id)["status"])
    letters = [letter for letter in dead_letters(shared_parts) if letter.subject == "pyoco.dlq.race"]
    assert status.is_terminal
    assert len(letters) == (status is RunStatus.FAILED)
    assert queued(shared_parts, "race") == 0
