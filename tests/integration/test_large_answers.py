"""Answers that are large: few are made at a time, and none is in memory as a whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from pyoco_server.bridge.messages import Stored
from pyoco_server.errors import BusTimeout
from pyoco_server.stores.logs import LogStore
from tests.support.gateway import LocalGateway, problem
from tests.support.parts import Parts, stored_run

RUNS = 40
RECORDS = {"a": {"state": "SUCCEEDED", "output": "x" * 100_000}}


@pytest.fixture(scope="module")
def full(shared: LocalGateway, shared_parts: Parts) -> LocalGateway:
    """A gateway with runs of four megabytes together, of which one has printed three hundred kilobytes."""
    shared_parts.put_many([stored_run(f"r{number:02}", task_records=RECORDS) for number in range(RUNS)])
    shared.parts.model.wait_for(shared_parts.put("small", stored_run("small", flow_name="small")), 20)
    lines = [{"seq": seq, "task": "a", "stream": "stdout", "text": "x" * 300, "timestamp": 1.0} for seq in range(1000)]
    LogStore(shared_parts.bus).append("r00", 1, lines)
    LogStore(shared_parts.bus).append("small", 1, lines[:10])
    return shared


@contextmanager
def crowded(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let others have all the room there is."""
    room = gateway.parts.room
    monkeypatch.setattr(room, "_wait_sec", 0.05)
    with room.held(10**9):
        yield
    assert room._free_bytes == room._max_bytes


@pytest.mark.parametrize("query", ["", "&cursor=", "&flow=main&limit=200"])
def test_a_large_list_is_answered_as_it_is_read(full: LocalGateway, query: str) -> None:
    answer = full.get(f"/runs?include=full&limit={RUNS}{query}")
    assert answer.headers["Transfer-Encoding"] == "chunked" and "Content-Length" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    found = answer.json() if "cursor" not in query else answer.json()["items"]
    assert len({run["run_id"] for run in found}) == RUNS
    assert all(run == full.get(f"/runs/{run['run_id']}?include=full").json() for run in found[:3])


@pytest.mark.parametrize("query", ["limit=200", "include=full&flow=small", "include=full&flow=none"])
def test_a_small_list_says_how_large_it_is(full: LocalGateway, query: str) -> None:
    answer = full.get(f"/runs?{query}")
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert len(answer.json()) == {"limit=200": RUNS + 1, "include=full&flow=small": 1}.get(query, 0)


@pytest.mark.parametrize(
    "path",
    ["/runs?include=full&flow=main", "/runs/r00/logs", "/runs/r00/logs?tail=900", "/runs/r00/logs?tail=9&follow=1"],
)
def test_a_large_answer_waits_for_its_turn_and_asks_to_come_again(
    full: LocalGateway, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    with crowded(full, monkeypatch):
        answer = full.get(path)
        assert "in work at the moment" in problem(answer, 503)["detail"] and int(answer.headers["Retry-After"]) > 0
        assert full.get("/ui/runs/r00").status_code == 200
        for small in (
            "/runs?include=full&flow=small",
            "/runs/small/logs",
            "/runs?limit=200",
            "/runs/r00/logs?format=text",
        ):
            assert full.get(small).status_code == 200
    with full.get(path, stream=True) as answer:
        assert answer.status_code == 200


def test_who_looks_farther_back_in_a_log_does_not_wait_for_itself(
    full: LocalGateway, shared_parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before has been dropped by then."""
    monkeypatch.setattr(full.parts.room, "_wait_sec", 0.05)
    logs = LogStore(shared_parts.bus)
    full.parts.model.wait_for(shared_parts.put("far", stored_run("far", flow_name="far")), 20)
    for seq in range(700):
        entry = {"seq": seq, "task": "b" if seq < 650 else "a", "stream": "stdout", "text": "x" * 12_000}
        logs.append("far", 1, [{**entry, "timestamp": 1.0}])
    found = full.get("/runs/far/logs?task=a&tail=100")
    assert found.status_code == 200 and len(found.json()["logs"]) == 50


def test_a_large_list_whose_rest_cannot_be_read_breaks_off(
    full: LocalGateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_all = full.parts.runs.read_all

    def fail_later(run_ids: list[str]) -> list[Stored]:
        if "r00" in run_ids:
            raise BusTimeout("lost")
        found: list[Stored] = read_all(run_ids)
        return found

    monkeypatch.setattr(full.parts.runs, "read_all", fail_later)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        full.get("/runs?include=full&flow=main")
    (said,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert said.getMessage() == "the answer to /runs breaks off: lost" and said.exc_info is None
    monkeypatch.undo()
    assert len(full.get("/runs?include=full&flow=main").json()) == RUNS


def test_a_number_that_json_does_not_know_is_null_in_a_list_as_elsewhere(
    full: LocalGateway, shared_parts: Parts
) -> None:
    odd: dict[str, Any] = {"flow_name": "odd", "params": {"x": float("nan")}}
    full.parts.model.wait_for(shared_parts.put("odd", stored_run("odd", **odd)), 20)
    for query in ("include=full&flow=odd", "flow=odd"):
        (run,) = json.loads(full.get(f"/runs?{query}").text, parse_constant=pytest.fail)
        assert run["run_id"] == "odd"
