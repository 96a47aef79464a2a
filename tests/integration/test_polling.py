"""``POST /workers/poll`` and ``POST /runs/{id}/heartbeat``: what workers that ask over HTTP get and tell."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from pyoco_server.contract import names
from pyoco_server.operations import polling
from pyoco_server.states import RunStatus
from tests.conftest import HELLO_FLOW
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.polling import NOTHING, beat, dead_letters, poll, read
from tests.support.waiting import PATIENCE_SEC, eventually


def submit_workflow(local: LocalGateway, tag: str) -> str:
    form = {"flow_name": (None, "main"), "workflow": ("f", HELLO_FLOW), "tag": (None, tag)}
    run_id: str = local.ask("POST", "/runs/yaml", files=form).json()["run_id"]
    return run_id


def session_poll(local: LocalGateway, worker_id: str) -> requests.Response:
    """Poll over a connection of its own."""
    return requests.post(f"{local.url}/workers/poll", json={"worker_id": worker_id}, timeout=10)


def test_a_poll_hands_out_a_run_once_and_marks_it_as_running(local: LocalGateway) -> None:
    assert poll(local) == NOTHING
    run_id = local.submit("f", params={"x": 1})
    assert poll(local, worker_id="w7") == {"run_id": run_id, "flow_name": "f", "params": {"x": 1}}
    assert poll(local) == NOTHING
    run = read(local, run_id)
    assert (run["status"], run["worker_id"], run["attempt"]) == ("RUNNING", "w7", 1)
    assert [item["run_id"] for item in local.get("/runs?status=RUNNING").json()] == [run_id]
    assert run["start_time"] == pytest.approx(time.time(), abs=5)
    assert run["lease_until"] == pytest.approx(time.time() + 3600, abs=5)


def test_tags_route_and_without_them_the_default_tag_is_served(local: LocalGateway) -> None:
    gpu, plain = local.submit("f", tag="gpu"), local.submit("f", tags=["gpu"])
    assert poll(local, "cpu", "other") == NOTHING
    answer = local.ask("POST", "/workers/poll", json={"worker_id": "w"})
    assert answer.json()["run_id"] == plain
    assert poll(local, "cpu", "gpu", "gpu")["run_id"] == gpu


def test_asking_for_a_tag_that_has_no_jobs_leaves_no_consumer_behind(local: LocalGateway, parts: Parts) -> None:
    assert poll(local, "nobody", "uses", "these") == NOTHING
    assert parts.info(names.WORK_STREAM)["state"]["consumer_count"] == 0


def test_many_polls_at_once_hand_each_run_out_once(local: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # However long the first of them has the queue's consumer made.
    monkeypatch.setattr(polling, "_TURN_SEC", PATIENCE_SEC)
    run_ids = sorted(local.submit("f") for _ in range(20))
    given: list[str] = []

    def ask() -> bool:
        with ThreadPoolExecutor(10) as pool:
            answers = pool.map(lambda number: session_poll(local, f"w{number}").json()["run_id"], range(20))
            given.extend(filter(None, answers))
        return len(given) >= 20

    eventually(ask, what="all runs being handed out")
    assert sorted(given) == run_ids


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "body.worker_id"),
        ({"worker_id": ""}, "body.worker_id"),
        ({"worker_id": 1}, "body.worker_id"),
        ({"worker_id": "w", "tags": "a"}, "body.tags"),
        ({"worker_id": "w", "tags": ["a", 1]}, "body.tags.1"),
        ({"worker_id": "w", "tags": ["a.>"]}, "body.tags.0"),
        ({"worker_id": "w", "tags": ["a"] * 101}, "body.tags"),
    ],
)
def test_a_poll_that_makes_no_sense_is_refused(shared: LocalGateway, body: dict[str, Any], place: str) -> None:
    assert fault_places(shared.ask("POST", "/workers/poll", json=body), "ERR-PYOCO-0002") == [place]


def test_a_run_with_a_workflow_is_handed_back_with_a_delay(local: LocalGateway, parts: Parts) -> None:
    run_id = submit_workflow(local, "t")
    named = local.submit("f", tag="t")
    # What lies behind it is found all the same.
    assert poll(local, "t")["run_id"] == named
    assert poll(local, "t") == NOTHING
    assert read(local, run_id)["status"] == "PENDING"
    consumer = parts.bus.api("CONSUMER.INFO.PYOCO_WORK.pyoco_workers_t")
    assert consumer["num_ack_pending"] == 2
    assert len(parts.jobs()) == 2


def test_a_run_is_found_behind_others_that_are_not_for_such_workers(local: LocalGateway) -> None:
    for _ in range(15):
        submit_workflow(local, "t")
    named = local.submit("f", tag="t")
    assert eventually(lambda: poll(local, "t")["run_id"], what="the run behind them") == named


def test_polls_do_not_stop_a_tag_by_what_they_hand_back(serve: Callable[..., LocalGateway], parts: Parts) -> None:
    local = serve(PYOCO_CONSUMER_MAX_ACK_PENDING="60")
    local.wait_until_complete()
    batch = {"workflow": HELLO_FLOW, "flow_name": "main", "tag": "t", "params": [{}] * 150}
    assert local.ask("POST", "/runs/batch", json=batch).status_code == 200
    local.submit("f", tag="t")
    for _ in range(8):
        assert poll(local, "t") == NOTHING
    assert parts.bus.api("CONSUMER.INFO.PYOCO_WORK.pyoco_workers_t")["num_ack_pending"] <= 50
    assert parts.queue.pull("t", wait_sec=1) is not None


def test_a_job_that_is_not_for_such_workers_keeps_its_last_delivery(
    serve: Callable[..., LocalGateway], parts: Parts
) -> None:
    local = serve(PYOCO_CONSUMER_MAX_DELIVER="2")
    local.wait_until_complete()
    run_id = submit_workflow(local, "t")
    parts.queue.ensure("t")
    first = parts.queue.pull("t", wait_sec=1)
    assert first is not None
    parts.queue.deliveries.nak(first)
    named = local.submit("f", tag="t")
    assert poll(local, "t")["run_id"] == named
    copy = eventually(lambda: parts.queue.pull("t", wait_sec=1), what="the job coming again")
    assert copy.num_delivered == 1
    assert json.loads(copy.payload) == json.loads(first.payload)
    assert json.loads(copy.payload)["run_id"] == run_id


def test_a_queued_job_that_cannot_be_read_is_taken_out_and_the_next_handed_out(
    local: LocalGateway, parts: Parts
) -> None:
    parts.bus.write(parts.queue.publication(_unreadable()))
    run_id = local.submit("f")
    assert poll(local)["run_id"] == run_id
    assert [letter.subject for letter in dead_letters(parts)] == ["pyoco.dlq.default"]


def _unreadable() -> Any:
    class Unreadable:
        tag = "default"
        run_id = "nonsense"

        def to_bytes(self) -> bytes:
            return b"nonsense"

    return Unreadable()


RECORD = {"state": "SUCCEEDED", "started_at": 1.0, "ended_at": 2.0, "duration_ms": 1000.0, "output": 7}


def test_heartbeats_keep_the_snapshot_up_to_date_and_the_last_one_ends_the_run(
    local: LocalGateway, parts: Parts
) -> None:
    run_id = local.submit("f")
    poll(local, worker_id="w7")
    before = read(local, run_id)
    assert beat(local, run_id, task_states={"a": "RUNNING", "b": "PENDING"}) is False
    after = read(local, run_id)
    assert (after["status"], after["tasks"]) == ("RUNNING", {"a": "RUNNING", "b": "PENDING"})
    assert after["lease_until"] > before["lease_until"]
    assert after["heartbeat_at"] > before["heartbeat_at"]
    beat(local, run_id, task_states={"a": "SUCCEEDED"}, task_records={"a": RECORD})
    assert len(parts.jobs()) == 1
    states = {"a": "SUCCEEDED", "b": "SUCCEEDED"}
    assert beat(local, run_id, "COMPLETED", task_states=states, task_records={"b": RECORD}) is False
    assert [item["run_id"] for item in local.get("/runs?status=COMPLETED").json()] == [run_id]
    ended = read(local, run_id)
    assert (ended["status"], ended["tasks"], ended["worker_id"]) == ("COMPLETED", states, "w7")
    assert ended["task_records"]["a"]["output"] == ended["task_records"]["b"]["output"] == 7
    assert ended["end_time"] >= ended["start_time"]
    assert parts.jobs() == []


def test_records_larger_than_a_snapshot_are_trimmed_and_the_run_ends_all_the_same(local: LocalGateway) -> None:
    run_id = local.submit("f")
    poll(local)
    records = {"a": {**RECORD, "output": "." * 5_000_000}}
    for status in ("RUNNING", "COMPLETED"):
        beat(local, run_id, status, task_states={"a": "SUCCEEDED"}, task_records=records)
    ended = read(local, run_id)
    assert (ended["status"], ended["task_records_truncated"]) == ("COMPLETED", True)
    assert "trimmed" in ended["task_records"]["a"]["output"]


def test_a_run_that_failed_carries_its_tasks_error_and_one_dead_letter(local: LocalGateway, parts: Parts) -> None:
    run_id = local.submit("f")
    poll(local)
    records = {"a": {**RECORD, "state": "FAILED", "error": "boom", "output": None}}
    for _ in range(2):
        assert beat(local, run_id, "FAILED", task_states={"a": "FAILED"}, task_records=records) is False
    ended = read(local, run_id)
    assert (ended["status"], ended["error"]) == ("FAILED", "boom")
    assert len(dead_letters(parts)) == 1


def test_nothing_changes_a_run_that_has_ended(local: LocalGateway) -> None:
    run_id = local.submit("f")
    poll(local)
    beat(local, run_id, "COMPLETED")
    before = read(local, run_id)
    logs = [{"seq": 0, "text": "late"}]
    assert beat(local, run_id, "FAILED", task_states={"a": "FAILED"}, logs=logs) is False
    assert read(local, run_id) == before
    assert local.get(f"/runs/{run_id}/logs").json()["logs"] == []


def test_a_heartbeat_for_a_run_that_nobody_was_given_over_http_changes_nothing(
    local: LocalGateway, parts: Parts
) -> None:
    waiting, elsewhere = local.submit("f"), local.submit("f")
    parts.change(elsewhere, status=RunStatus("RUNNING"), worker_id="w1", instance_id="i", job_seq=2, attempt=1)
    for run_id in (waiting, elsewhere):
        before = read(local, run_id)
        assert beat(local, run_id, task_states={"a": "RUNNING"}) is True
        assert beat(local, run_id, "COMPLETED", task_states={"a": "SUCCEEDED"}) is False
        assert read(local, run_id) == before


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "body.task_states"),
        ({"task_states": {}}, "body.run_status"),
        ({"task_states": {}, "run_status": "DONE"}, "body.run_status"),
        ({"task_states": {"a": "DONE"}, "run_status": "RUNNING"}, "body.task_states.a"),
        ({"task_states": [], "run_status": "RUNNING"}, "body.task_states"),
        ({"task_states": {}, "run_status": "RUNNING", "task_records": {"a": 1}}, "body.task_records.a"),
        ({"task_states": {}, "run_status": "RUNNING", "logs": {}}, "body.logs"),
        ({"task_states": {}, "run_status": "RUNNING", "logs": [{"seq": "x", "text": ""}]}, "body.logs.0.seq"),
    ],
)
def test_a_heartbeat_that_makes_no_sense_is_refused(shared: LocalGateway, body: dict[str, Any], place: str) -> None:
    answer = shared.ask("POST", "/runs/any/heartbeat", json=body)
    assert place in fault_places(answer, "ERR-PYOCO-0002")


@pytest.mark.parametrize(("method", "path"), [("POST", "heartbeat"), ("GET", "logs")])
def test_an_unknown_run_is_404(shared: LocalGateway, method: str, path: str) -> None:
    body = {"task_states": {}, "run_status": "RUNNING"}
    answer = shared.ask(method, f"/runs/nothing/{path}", json=body if method == "POST" else None)
    assert problem(answer, 404)["err_id"] == "ERR-PYOCO-0005"


def test_a_poll_is_answered_in_time_while_nats_is_away(local: LocalGateway, nats: NatsServer) -> None:
    nats.stop()
    begun = time.monotonic()
    answer = local.ask("POST", "/workers/poll", json={"worker_id": "w"})
    assert problem(answer, 503)["err_id"] == "ERR-PYOCO-0003"
    assert time.monotonic() - begun < 3


def test_a_poll_is_answered_in_time_while_nats_does_not_answer(local: LocalGateway, nats: NatsServer) -> None:
    # One more than is handed out: for what waits the queue is asked.
    for _ in range(2):
        local.submit("f")
    poll(local)
    with nats.frozen(), ThreadPoolExecutor(4) as pool:
        begun = time.monotonic()
        answers = list(pool.map(lambda _: session_poll(local, "w").status_code, range(4)))
        assert time.monotonic() - begun < 5
    assert set(answers) == {503}
