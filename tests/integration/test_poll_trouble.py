"""Polls and heartbeats in trouble: clients that leave, a NATS that is away, and input that means no good."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from pyoco_server.bridge import deliveries
from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.operations import polling
from pyoco_server.operations.holder import Holders
from pyoco_server.states import WorkerState
from pyoco_server.stores.workers import WorkerStore
from tests.support.gateway import LocalGateway, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.polling import beat, poll, read
from tests.support.waiting import PATIENCE_SEC, eventually

LIVE = ("/health", "/", "/ui/runs", "/runs?include=full", "/metrics", "/ui/queues", "/ui/workers")


def test_a_run_whose_worker_has_not_waited_for_the_answer_comes_back_at_once(
    local: LocalGateway, nats: NatsServer, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The answer of a queue is waited for as long as it is frozen.
    monkeypatch.setattr(deliveries, "_GRACE_SEC", PATIENCE_SEC)
    parts.queue.ensure("default")
    run_id = local.submit("f")
    body = json.dumps({"worker_id": "gone"}).encode()
    head = f"POST /workers/poll HTTP/1.1\r\nHost: gateway\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    # Of what it has not heard of the gateway does not ask the queue.
    eventually(lambda: local.reports.counts() == {"PENDING": 1}, what="the run being known")
    with nats.frozen():
        with socket.create_connection(("127.0.0.1", local.port)) as connection:
            connection.sendall(head + body)
            eventually(local.parts.polling._turn.locked, what="the queue being asked")
    eventually(lambda: read(local, run_id).get("attempt") == 1, what="the claim for who is gone")
    eventually(lambda: read(local, run_id)["worker_id"] is None, what="the release of the run")
    assert beat(local, run_id, task_states={"a": "RUNNING"}) is True
    assert eventually(lambda: poll(local, worker_id="next")["run_id"], what="the run coming back") == run_id
    run = read(local, run_id)
    assert (run["worker_id"], run["attempt"]) == ("next", 2)


def test_two_gateways_hand_each_run_out_once(
    serve: Callable[..., LocalGateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long the first of them has the queue's consumer made.
    monkeypatch.setattr(polling, "_TURN_SEC", PATIENCE_SEC)
    gateways = [serve(), serve()]
    for gateway in gateways:
        gateway.wait_until_complete()
    run_ids = sorted(gateways[0].submit("f") for _ in range(20))
    given: list[str] = []

    def ask(number: int) -> Any:
        url = f"{gateways[number % 2].url}/workers/poll"
        return requests.post(url, json={"worker_id": f"w{number}"}, timeout=10).json()["run_id"]

    def look() -> bool:
        with ThreadPoolExecutor(10) as pool:
            given.extend(filter(None, pool.map(ask, range(20))))
        return len(given) >= 20

    eventually(look, what="all runs being handed out")
    assert sorted(given) == run_ids
    # Any of them takes what is told of any run.
    for number, run_id in enumerate(given):
        assert beat(gateways[number % 2], run_id, "COMPLETED") is False


def test_a_queue_that_another_gateway_is_just_making_is_asked_again(
    local: LocalGateway, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.wait_until_complete()
    run_id = local.submit("f")
    makers = []

    def ensure(tag: str) -> None:
        # Now and then a server that has said that a consumer is there has nobody yet who answers for it.
        makers.append(threading.Timer(0.05, parts.queue.ensure, [tag]))
        makers[-1].start()

    monkeypatch.setattr(local.parts.polling._queue, "ensure", ensure)
    monkeypatch.setattr(polling, "_FIRST_PULL_SEC", PATIENCE_SEC)
    assert eventually(lambda: poll(local)["run_id"], what="the run") == run_id
    (maker,) = makers
    maker.join()


def test_a_heartbeat_that_could_not_be_taken_may_be_sent_again(local: LocalGateway, nats: NatsServer) -> None:
    run_id = local.submit("f")
    eventually(lambda: poll(local)["run_id"], what="the run")
    nats.stop()
    body = {"task_states": {"a": "SUCCEEDED"}, "run_status": "COMPLETED"}
    assert problem(local.ask("POST", f"/runs/{run_id}/heartbeat", json=body), 503)["err_id"] == "ERR-PYOCO-0003"
    nats.start()
    eventually(
        lambda: local.ask("POST", f"/runs/{run_id}/heartbeat", json=body).status_code == 200, what="NATS being back"
    )
    assert read(local, run_id)["status"] == "COMPLETED"


def test_a_worker_keeps_its_run_over_a_death_of_nats(serve: Callable[..., LocalGateway], nats: NatsServer) -> None:
    local = serve(PYOCO_ACK_PROGRESS_INTERVAL_SEC="0.2", PYOCO_CONSUMER_ACK_WAIT_SEC="1")
    local.wait_until_complete()
    run_id = local.submit("f")
    eventually(lambda: poll(local)["run_id"], what="the run")
    nats.stop(signal.SIGKILL)
    nats.start()
    local.wait_until_complete()
    assert beat(local, run_id) is False
    other = local.submit("f")
    assert eventually(lambda: poll(local)["run_id"], what="the next run") == other
    assert beat(local, run_id, "COMPLETED") is False
    assert beat(local, other, "COMPLETED") is False
    assert (read(local, run_id)["status"], read(local, run_id)["attempt"]) == ("COMPLETED", 1)


def test_a_worker_id_that_is_somebody_elses_changes_nothing_for_him(shared: LocalGateway, shared_parts: Parts) -> None:
    now, workers = time.time(), WorkerStore(shared_parts.bus, shared_parts.config)
    workers.put(WorkerRecord("theirs", "life", WorkerState.STOPPED_GRACEFUL, ["ids"], now, now))
    holders = Holders(shared_parts.runs, workers, disconnect_timeout_sec=0, cancel_grace_sec=30)
    run_ids = {shared.submit("f", tag="ids") for _ in range(2)}
    assert {poll(shared, "ids", worker_id="theirs")["run_id"] for _ in range(2)} == run_ids
    for run_id in run_ids:
        assert not holders.is_gone(shared_parts.runs.get(run_id))
        assert beat(shared, run_id) is False


def test_whatever_a_heartbeat_says_is_shown_and_breaks_nothing(shared: LocalGateway) -> None:
    run_id = shared.submit("f", tag="hostile")
    eventually(lambda: poll(shared, "hostile")["run_id"], what="the run")
    text = "\x00<script>\u202e" + "z" * 3_000
    record = {"state": {"x": 1}, "started_at": "abc", "ended_at": [1], "duration_ms": {}, "error": [text], "inputs": 7}
    other = {"state": "FAILED", "error": text, "started_at": 1e300, "ended_at": -1e300, "is_resumable": True}
    body = {
        "task_states": {text: "RUNNING", "": "PENDING", "b": "FAILED"},
        "task_records": {text: {**record, "output": {text: text}, "traceback": 5, "artifacts": 3}, "b": other},
        "logs": [{"seq": 10**400, "text": text, "task": "\x00", "stream": "", "timestamp": 1e308, "more": [text]}],
    }
    for status in ("RUNNING", "FAILED"):
        assert beat(shared, run_id, status, **body) is False
        for path in (*LIVE, f"/runs/{run_id}?include=records", f"/runs/{run_id}/logs?task=%00", f"/ui/runs/{run_id}"):
            answer = shared.get(path)
            assert answer.status_code == 200, path
            assert "<script>" not in answer.text or answer.headers["Content-Type"] == "application/json"
    assert shared.get(f"/runs/{run_id}/logs").json()["logs"] == body["logs"] * 2


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"[]", 422),
        (b'{"task_states": {}, "run_status": NaN}', 422),
        (b'{"task_states": {}, "run_status": "RUNNING", "x": ' + b"[" * 200 + b"]" * 200 + b"}", 422),
        (b"x" * (9 * 1024 * 1024), 413),
    ],
)
def test_a_body_that_is_no_heartbeat_is_refused(shared: LocalGateway, body: bytes, status: int) -> None:
    problem(shared.ask("POST", "/runs/any/heartbeat", data=body), status)


@pytest.mark.parametrize("run_id", ["..%2f", "%00", "*", ">", "a.b", "%ff", "x" * 300])
def test_what_cannot_be_the_id_of_a_run_is_404(shared: LocalGateway, run_id: str) -> None:
    body = {"task_states": {}, "run_status": "RUNNING"}
    problem(shared.ask("POST", f"/runs/{run_id}/heartbeat", json=body), 404)
    problem(shared.get(f"/runs/{run_id}/logs"), 404)
