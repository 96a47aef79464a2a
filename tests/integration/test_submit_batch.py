"""``POST /runs/batch``: many runs in one call, each judged by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyoco_server.client.submit import BATCH_TIMEOUT_SEC
from tests.conftest import HELLO_FLOW
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

SWEEP = {"workflow": HELLO_FLOW, "flow_name": "main", "tag": "hello"}


def submit(local: LocalGateway, body: dict[str, Any]) -> list[dict[str, Any]]:
    # As long as our client waits: a slow disk takes its time.
    answer = local.ask("POST", "/runs/batch", json=body, timeout_sec=BATCH_TIMEOUT_SEC)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"runs"}
    runs: list[dict[str, Any]] = answer.json()["runs"]
    return runs


def test_each_run_of_a_batch_is_stored_and_queued_as_if_it_were_submitted_alone(
    local: LocalGateway, parts: Parts
) -> None:
    alone = parts.snapshot(local.submit("b", params={"x": 2}, tag="gpu", tags=["l"]))
    first, second = submit(local, {"runs": [{"flow_name": "a"}, {**_fields(alone), "flow_name": "b"}]})
    assert (first["status"], second["status"]) == ("PENDING", "PENDING")
    assert parts.snapshot(first["run_id"])["tag"] == "default"
    stored = parts.snapshot(second["run_id"])
    different = {"run_id", "updated_at", "heartbeat_at", "submitted_at"}
    assert {name: stored[name] for name in stored.keys() - different} == {
        name: alone[name] for name in alone.keys() - different
    }
    jobs = {json.loads(job.payload)["run_id"]: job for job in parts.jobs()}
    assert jobs[second["run_id"]].subject == "pyoco.work.gpu"
    assert jobs[second["run_id"]].headers["Nats-Msg-Id"] == second["run_id"]


def _fields(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {name: snapshot[name] for name in ("params", "tag", "tags")}


def test_a_workflow_runs_once_for_each_set_of_parameters_laid_over_its_defaults(
    local: LocalGateway, parts: Parts
) -> None:
    runs = submit(local, {**SWEEP, "tags": ["sweep"], "params": [{"x": 5}, {}, {"y": 1}]})
    stored = [parts.snapshot(run["run_id"]) for run in runs]
    assert [snapshot["params"] for snapshot in stored] == [{"x": 5}, {"x": 1}, {"x": 1, "y": 1}]
    assert {snapshot["tag"] for snapshot in stored} == {"hello"}
    assert [snapshot["tags"] for snapshot in stored] == [["sweep"]] * 3
    assert stored[0]["tasks"] == {"add_one": "PENDING", "to_text": "PENDING"}
    assert all(json.loads(job.payload)["workflow_yaml"] == HELLO_FLOW for job in parts.jobs())
    assert len(parts.keys("pyoco_workflows")) == 1


def test_a_refused_run_has_its_problem_in_its_place_and_does_not_touch_the_others(
    local: LocalGateway, parts: Parts
) -> None:
    given = [{"flow_name": "a"}, {"flow_name": ""}, 7, {"flow_name": "b", "params": {"x": "y" * 300_000}}]
    first, nameless, number, large = submit(local, {"runs": [*given, {"flow_name": "c"}]})[:4]
    assert first["status"] == "PENDING"
    assert (nameless["status"], nameless["err_id"]) == (422, "ERR-PYOCO-0002")
    assert nameless["errors"][0]["loc"] == "body.runs.1.flow_name"
    assert nameless["instance"] == "/runs/batch#/runs/1"
    assert number["errors"][0]["loc"] == "body.runs.2"
    assert (large["status"], large["err_id"]) == (413, "ERR-PYOCO-0010")
    assert len(parts.keys()) == len(parts.jobs()) == 2


def test_parameters_that_are_no_object_are_refused_in_their_place(local: LocalGateway) -> None:
    runs = submit(local, {**SWEEP, "params": [{"x": 1}, [1], None, {"x": 2}]})
    assert [run["status"] for run in runs] == ["PENDING", 422, 422, "PENDING"]
    assert runs[1]["errors"] == [{"loc": "body.params.1", "msg": "must be a JSON object: the parameters of one run"}]


def test_a_thousand_runs_of_eight_kilobytes_are_one_call_and_in_the_list_when_it_returns(
    local: LocalGateway, parts: Parts
) -> None:
    runs = submit(local, {**SWEEP, "params": [{"x": number, "pad": "." * 8_000} for number in range(1_000)]})
    assert len({run["run_id"] for run in runs}) == 1_000
    assert len(local.get("/runs?limit=200&tag=hello").json()) == 200
    assert parts.info("PYOCO_WORK")["state"]["messages"] == 1_000
    assert parts.snapshot(runs[-1]["run_id"])["params"]["x"] == 999


def test_an_empty_batch_is_no_error(shared: LocalGateway) -> None:
    assert submit(shared, {"runs": []}) == submit(shared, {**SWEEP, "params": []}) == []


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "body"),
        ({"runs": None}, "body"),
        ({"runs": {}}, "body.runs"),
        ({"runs": [{"flow_name": "a"}] * 1_001}, "body.runs"),
        ({"runs": [], **SWEEP}, "body"),
        ({"workflow": HELLO_FLOW, "params": [{}]}, "body"),
        ({"workflow": HELLO_FLOW, "flow_name": "main"}, "body"),
        ({**SWEEP, "params": {}}, "body.params"),
        ({**SWEEP, "params": [{}] * 1_001}, "body.params"),
        ({**SWEEP, "params": [], "tag": "a.b"}, "body.tag"),
        ({**SWEEP, "params": [], "workflow": "\ud800"}, "body.workflow"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused_as_a_whole(
    shared: LocalGateway, body: dict[str, Any], place: str
) -> None:
    answer = shared.ask("POST", "/runs/batch", data=json.dumps(body))
    assert fault_places(answer, "ERR-PYOCO-0002") == [place]


def test_a_fault_in_the_workflow_is_named_with_its_place(shared: LocalGateway) -> None:
    answer = shared.ask("POST", "/runs/batch", json={**SWEEP, "workflow": "version: 1\nflows: {}\n", "params": [{}]})
    assert 2 in [fault.get("line") for fault in problem(answer, 422)["errors"]]


def test_only_a_batch_may_be_larger_than_other_bodies(shared: LocalGateway) -> None:
    size = 3 * 1024 * 1024
    assert problem(shared.ask("POST", "/runs", data=b" " * size), 413)["err_id"] == "ERR-PYOCO-0002"
    assert shared.ask("POST", "/runs/batch", data=b" " * size + b'{"runs": []}').status_code == 200
    document = problem(shared.ask("POST", "/runs/batch", data=b" " * 4 * size), 413)
    assert "9961472 bytes" in document["detail"]


def test_a_batch_that_nobody_takes_is_answered_at_once_with_503(local: LocalGateway, nats: NatsServer) -> None:
    nats.stop()
    begun = time.monotonic()
    answer = local.ask("POST", "/runs/batch", json={**SWEEP, "params": [{}] * 1_000})
    assert problem(answer, 503)["err_id"] == "ERR-PYOCO-0003"
    assert answer.headers["Retry-After"]
    assert time.monotonic() - begun < 5


def test_a_nats_that_stops_answering_costs_a_batch_no_more_than_one_run(
    local: LocalGateway, nats: NatsServer, parts: Parts
) -> None:
    submit(local, {**SWEEP, "params": [{}]})
    with nats.frozen():
        begun = time.monotonic()
        runs = submit(local, {**SWEEP, "params": [{}] * 1_000})
        assert time.monotonic() - begun < 8
    assert {run["status"] for run in runs} == {503}
    uncertain = [run["run_id"] for run in runs if "run_id" in run]
    assert 0 < len(uncertain) < 100
    # What was written to a connection that nobody read is stored when somebody reads it again.
    eventually(lambda: parts.keys() >= set(uncertain), what="the snapshots of the uncertain runs")


def test_runs_whose_jobs_are_refused_are_withdrawn(
    serve: Callable[..., LocalGateway], nats: NatsServer, parts: Parts
) -> None:
    local = serve()
    local.wait_until_complete()
    (kept,) = submit(local, {"runs": [{"flow_name": "a"}]})
    parts.bus.api("STREAM.UPDATE.PYOCO_WORK", {**parts.info("PYOCO_WORK")["config"], "max_msg_size": 4_096})
    good, large = submit(local, {"runs": [{"flow_name": "a"}, {"flow_name": "b", "params": {"x": "y" * 5_000}}]})
    assert (good["status"], large["status"]) == ("PENDING", 503)
    assert parts.keys() == {kept["run_id"], good["run_id"]}
    assert [run["run_id"] for run in local.get("/runs").json()] == [good["run_id"], kept["run_id"]]
