"""A gateway whose NATS dies, hangs, comes back, and comes back empty."""

from __future__ import annotations

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.paths import is_page
from tests.conftest import HELLO_FLOW
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually
from tests.support.wheels import file_name, wheel

#: The published clients give up after five seconds.
ANSWER_SEC = 5.0
#: Nobody waits for a server that is known to be gone.
AT_ONCE_SEC = 1.5
RECOVERY_SEC = 6.0

Request = tuple[str, str, dict[str, Any]]


def requests_that_need_nats(run_id: str) -> list[Request]:
    return [
        ("GET", "/runs", {}),
        ("GET", "/runs?cursor=&status=FAILED&limit=1", {}),
        ("GET", "/runs?include=full", {}),
        ("GET", f"/runs/{run_id}", {}),
        ("GET", f"/runs/{run_id}?include=records", {}),
        ("GET", f"/runs/{run_id}/tasks", {}),
        ("GET", f"/runs/{run_id}/watch", {}),
        ("GET", "/runs/unknown", {}),
        ("POST", "/runs", {"json": {"flow_name": "main"}}),
        ("POST", "/runs/yaml?flow_name=main", {"data": HELLO_FLOW}),
        ("POST", "/runs/yaml", {"data": {"flow_name": "main"}, "files": {"workflow": HELLO_FLOW}}),
        ("POST", "/runs/batch", {"json": {"runs": [{"flow_name": "main"}]}}),
        ("POST", f"/runs/{run_id}/cancel", {}),
        ("POST", f"/runs/{run_id}/rerun", {}),
        ("GET", "/workers", {}),
        ("PATCH", "/workers/w1", {"json": {"hidden": True}}),
        ("POST", "/workers/w1/drain", {}),
        ("GET", "/wheels", {}),
        ("POST", "/wheels", {"files": {"wheel": (file_name(), wheel())}}),
        ("GET", f"/wheels/{file_name()}", {}),
        ("DELETE", f"/wheels/{file_name()}", {}),
        ("GET", "/wheels/history", {}),
        ("GET", "/dead-letters", {}),
        ("GET", "/dead-letters/1", {}),
        ("DELETE", "/dead-letters/1", {}),
        ("DELETE", "/dead-letters?all=true", {}),
        ("POST", "/dead-letters/1/replay", {}),
        ("POST", "/dead-letters/replay?all=true", {}),
        ("GET", "/metrics", {}),
        ("POST", "/workers/poll", {"json": {"worker_id": "w1", "tags": []}}),
        ("POST", f"/runs/{run_id}/heartbeat", {"json": {"task_states": {}, "run_status": "RUNNING"}}),
        ("GET", f"/runs/{run_id}/logs", {}),
        ("GET", f"/runs/{run_id}/artifacts", {}),
        ("GET", f"/runs/{run_id}/artifacts/name", {}),
    ]


def test_what_is_asked_while_nats_is_away_is_every_route_but_those_that_answer_then(local: LocalGateway) -> None:
    urls = create_app(local.parts).url_map.bind("localhost")
    asked = {
        (method, urls.match(path.partition("?")[0], method)[0]) for method, path, _ in requests_that_need_nats("r")
    }
    there = {
        (method, rule.endpoint)
        for rule in urls.map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if not is_page(rule.rule) and rule.rule not in ("/health", "/ready", "/openapi.json", "/static/<path:filename>")
    }
    assert asked == there


def ask_alone(gateway: LocalGateway, request: Request) -> tuple[requests.Response, float]:
    """Ask over a connection of its own; give the answer and the seconds that it took."""
    method, path, options = request
    began_at = time.monotonic()
    answer = requests.request(method, gateway.url + path, timeout=10, **options)
    return answer, time.monotonic() - began_at


def check_that_all_say_503(gateway: LocalGateway, run_id: str, within_sec: float = ANSWER_SEC) -> None:
    asked = requests_that_need_nats(run_id)
    # All at once they would wait for each other in this process, not for the gateway.
    with ThreadPoolExecutor(8) as clients:
        for answer, seconds in clients.map(lambda request: ask_alone(gateway, request), asked):
            assert seconds < within_sec, answer.url
            if answer.url.endswith("/runs/batch") and answer.status_code == 200:
                # Some of its runs may have been accepted, so it must not be sent again as a whole.
                assert {(run["status"], run["err_id"]) for run in answer.json()["runs"]} == {(503, "ERR-PYOCO-0003")}
                continue
            assert problem(answer, 503)["err_id"] == "ERR-PYOCO-0003"
            assert 1 <= int(answer.headers["Retry-After"]) <= 10


def check_what_needs_no_nats(gateway: LocalGateway) -> None:
    assert gateway.get("/health").json() == {"status": "ok"}
    page = gateway.get("/")
    assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert int(page.headers["Retry-After"]) >= 1
    assert fault_places(gateway.get("/runs?limit=0"), "ERR-PYOCO-0017") == ["query.limit"]
    assert fault_places(gateway.ask("POST", "/runs", data=b"{"), "ERR-PYOCO-0002") == ["body"]
    assert fault_places(gateway.ask("POST", "/runs", json={}), "ERR-PYOCO-0002") == ["body.flow_name"]
    problem(gateway.ask("POST", "/runs/yaml?flow_name=main", data=b"version: 1"), 422)
    assert fault_places(gateway.get("/runs/x/watch?timeout_sec=0"), "ERR-PYOCO-0002") == ["query.timeout_sec"]
    problem(gateway.ask("POST", "/runs", json={"flow_name": "main", "params": {"x": "y" * 262_144}}), 413)
    problem(gateway.get("/runs/a*"), 404)
    problem(gateway.ask("DELETE", "/runs"), 405)


def wait_until_it_is_noticed(gateway: LocalGateway) -> None:
    eventually(lambda: gateway.get("/ready").status_code == 503, what="/ready saying 503", timeout_sec=ANSWER_SEC)


def wait_for_recovery(gateway: LocalGateway) -> None:
    eventually(lambda: gateway.get("/ready").status_code == 200, what="the recovery", timeout_sec=RECOVERY_SEC)


def test_every_route_says_503_while_nats_is_dead_and_works_again_after_its_return(
    nats: NatsServer, local: LocalGateway
) -> None:
    run_id = local.submit()
    nats.stop(signal.SIGKILL)
    wait_until_it_is_noticed(local)
    check_that_all_say_503(local, run_id, AT_ONCE_SEC)
    check_what_needs_no_nats(local)
    ready = local.get("/ready")
    assert (ready.json()["status"], ready.json()["nats"]["connected"]) == ("not ready", False)
    assert "Retry-After" in ready.headers

    nats.start()
    wait_for_recovery(local)
    assert [run["run_id"] for run in local.get("/runs").json()] == [run_id]
    second = local.submit()
    assert {run["run_id"] for run in local.get("/runs?include=full").json()} == {run_id, second}
    assert local.get("/ready").json()["nats"]["connected"]


@pytest.mark.long
def test_every_route_says_503_while_nats_hangs_and_works_again_when_it_goes_on(
    nats: NatsServer, local: LocalGateway
) -> None:
    run_id = local.submit()
    nats.send(signal.SIGSTOP)
    # From the first moment on nothing takes longer, though it is not known yet that NATS hangs.
    _, seconds = ask_alone(local, ("GET", f"/runs/{run_id}", {}))
    assert seconds < ANSWER_SEC
    wait_until_it_is_noticed(local)
    check_that_all_say_503(local, run_id)
    check_what_needs_no_nats(local)

    nats.send(signal.SIGCONT)
    wait_for_recovery(local)
    assert local.get(f"/runs/{run_id}").status_code == 200
    assert local.submit() in [run["run_id"] for run in local.get("/runs").json()]


def test_many_requests_meanwhile_are_few_lines_of_the_log(
    nats: NatsServer, local: LocalGateway, caplog: pytest.LogCaptureFixture
) -> None:
    nats.stop()
    eventually(lambda: local.get("/runs").status_code == 503, what="the outage being known")
    for _ in range(50):
        local.get("/runs")
        local.get("/workers")
    lines = [record for record in caplog.records if record.name == "pyoco_server.gateway.problems"]
    assert {(line.getMessage().partition(":")[0], line.err_id) for line in lines} == {
        ("GET /runs", "ERR-PYOCO-0003"),
        ("GET /workers", "ERR-PYOCO-0003"),
    }
    assert len(lines) < 10
    lost = [record for record in caplog.records if record.getMessage().startswith("the connection to NATS was lost")]
    assert [line.err_id for line in lost] == ["ERR-PYOCO-0003"]


def test_a_nats_that_comes_back_empty_is_made_usable_again(nats: NatsServer, local: LocalGateway) -> None:
    run_id = local.submit()
    assert local.ask("POST", "/runs/yaml?flow_name=main", data=HELLO_FLOW).status_code == 200
    nats.stop(signal.SIGKILL)
    nats.empty()
    nats.start()
    wait_for_recovery(local)
    assert local.get("/runs").json() == []
    problem(local.get(f"/runs/{run_id}"), 404)

    answer = local.ask("POST", "/runs/yaml?flow_name=main", data=HELLO_FLOW)
    assert answer.status_code == 200
    new_id = answer.json()["run_id"]
    assert [run["run_id"] for run in local.get("/runs").json()] == [new_id]
    with Parts(nats.url) as parts:
        assert [json.loads(job.payload)["run_id"] for job in parts.jobs()] == [new_id]
        # The text is kept again, though the gateway had kept it in the store that is gone.
        assert parts.workflows.get(parts.snapshot(new_id)["workflow_yaml_sha256"]) == HELLO_FLOW


@pytest.mark.long
def test_what_was_answered_while_nats_died_and_came_back_is_true(nats: NatsServer, local: LocalGateway) -> None:
    accepted: set[str] = set()
    uncertain: set[str] = set()
    refusals: list[requests.Response] = []
    slowest: list[float] = [0.0]
    done = threading.Event()

    def submit_again_and_again(number: int) -> None:
        while not done.is_set():
            answer, seconds = ask_alone(local, ("POST", "/runs", {"json": {"flow_name": "main"}}))
            slowest[0] = max(slowest[0], seconds)
            if answer.status_code == 200:
                accepted.add(answer.json()["run_id"])
                continue
            refusals.append(answer)
            if run_id := problem(answer, 503).get("run_id"):
                uncertain.add(run_id)
            done.wait(0.02)

    with ThreadPoolExecutor(8) as clients:
        loops = [clients.submit(submit_again_and_again, number) for number in range(8)]
        for _ in range(2):
            count = len(accepted)
            eventually(lambda wanted=count + 40: len(accepted) >= wanted, what="runs being accepted")
            nats.stop(signal.SIGKILL)
            count = len(refusals)
            eventually(lambda wanted=count + 20: len(refusals) >= wanted, what="runs being refused")
            nats.start()
            wait_for_recovery(local)
        done.set()
        for loop in loops:
            loop.result()

    assert slowest[0] < ANSWER_SEC
    with Parts(nats.url) as parts:
        parts.sweep().sweep(time.time() + 1)
        queued = [json.loads(job.payload)["run_id"] for job in parts.jobs()]
        assert len(queued) == len(set(queued))
        assert set(queued) == parts.keys()
        assert accepted <= set(queued) <= accepted | uncertain


@pytest.mark.parametrize("stream", ["KV_pyoco_runs", "KV_pyoco_workers"])
def test_a_bucket_that_somebody_deletes_is_made_again(local: LocalGateway, parts: Parts, stream: str) -> None:
    local.submit()
    parts.bus.api(f"STREAM.DELETE.{stream}")
    wait_until_it_is_noticed(local)
    wait_for_recovery(local)
    run_id = local.submit()
    assert run_id in [run["run_id"] for run in local.get("/runs").json()]
