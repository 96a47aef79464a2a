"""``GET /runs``: which runs it shows, in which order, and what it shows of each."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.gateway import LocalGateway, fault_places
from tests.support.parts import Parts, stored_run

SHA256 = "ab" * 32
SUMMARY = {
    "run_id",
    "flow_name",
    "tag",
    "tags",
    "tenant_id",
    "api_key_id",
    "status",
    "updated_at",
    "heartbeat_at",
    "worker_id",
    "error",
    "start_time",
    "end_time",
    "attempt",
}
#: Newest change first.
RUNS: dict[str, dict[str, Any]] = {
    document["run_id"]: document
    for document in [
        stored_run("c1", flow_name="report", tag="cpu", status="CANCELLING", updated_at=600.0, submitted_at=60.0),
        stored_run("etl-7", flow_name="report", tag="cpu", status="CANCELLED", updated_at=500.0, submitted_at=50.0),
        stored_run("b2", flow_name="report", tag="gpu", status="COMPLETED", updated_at=400.5, submitted_at=40.0),
        stored_run("b1", flow_name="etl-nightly", tag="gpu", status="FAILED", updated_at=300.0, submitted_at=15.0),
        stored_run("a2", flow_name="etl", tag="cpu", status="RUNNING", updated_at=200.0, submitted_at=20.0),
        stored_run("a1", flow_name="etl", tag="gpu", status="PENDING", updated_at=100.0, submitted_at=10.0),
    ]
}
for run_id in ("etl-7", "b2", "a1"):
    RUNS[run_id]["workflow_yaml_sha256"] = SHA256
# Else the gateway would end it: nobody held it.
RUNS["c1"]["worker_id"] = "w1"


@pytest.fixture(scope="module")
def listed(shared: LocalGateway, shared_parts: Parts) -> LocalGateway:
    """A gateway that knows these runs and no others."""
    shared.wait_until_applied(shared_parts.put_many(list(RUNS.values())))
    return shared


def listed_ids(gateway: LocalGateway, query: str) -> list[str]:
    answer = gateway.get(f"/runs?{query}")
    assert answer.status_code == 200, answer.text
    runs = answer.json()
    return [run["run_id"] for run in (runs["items"] if isinstance(runs, dict) else runs)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", list(RUNS)),
        ("status=FAILED", ["b1"]),
        ("status=PENDING&status=FAILED&status=PENDING", ["b1", "a1"]),
        ("flow=etl", ["a2", "a1"]),
        ("flow=ETL", []),
        ("tag=gpu", ["b2", "b1", "a1"]),
        ("tag=nobody", []),
        ("q=etl", ["etl-7", "b1", "a2", "a1"]),
        ("q=a1", ["a1"]),
        ("q=%25", []),
        ("q=_1", []),
        ("q=*", []),
        ("updated_after=300", ["c1", "etl-7", "b2"]),
        ("updated_after=299.999", ["c1", "etl-7", "b2", "b1"]),
        ("updated_after=400.5", ["c1", "etl-7"]),
        ("updated_after=-1", list(RUNS)),
        ("created_after=15", ["c1", "etl-7", "b2", "a2"]),
        (f"workflow_yaml_sha256={SHA256}", ["etl-7", "b2", "a1"]),
        ("limit=1", ["c1"]),
        ("limit=200", list(RUNS)),
        ("colour=green&page=7&status_=x", list(RUNS)),
    ],
)
def test_a_filter_shows_the_runs_that_match_newest_change_first(
    listed: LocalGateway, query: str, expected: list[str]
) -> None:
    assert listed_ids(listed, query) == expected


def is_wanted(run: dict[str, Any], filters: dict[str, Any]) -> bool:
    """Say whether a run matches, in the plainest way."""
    return (
        run["status"] in filters.get("status", [run["status"]])
        and run["flow_name"] == filters.get("flow", run["flow_name"])
        and run["tag"] == filters.get("tag", run["tag"])
        and any(run[name].startswith(filters.get("q", "")) for name in ("run_id", "flow_name"))
        and run["updated_at"] > filters.get("updated_after", 0)
        and run["submitted_at"] > filters.get("created_after", 0)
        and run.get("workflow_yaml_sha256") == filters.get("workflow_yaml_sha256", run.get("workflow_yaml_sha256"))
    )


CHOICES: dict[str, list[Any]] = {
    "status": [None, ["RUNNING"], ["COMPLETED", "CANCELLED", "PENDING"]],
    "flow": [None, "report"],
    "tag": [None, "gpu"],
    "q": [None, "etl"],
    "updated_after": [None, 100],
    "created_after": [None, 10],
    "workflow_yaml_sha256": [None, SHA256],
}


@pytest.mark.parametrize("statuses", CHOICES["status"], ids=str)
def test_filters_together_show_what_matches_all_of_them_page_by_page(listed: LocalGateway, statuses: Any) -> None:
    for values in itertools.product([statuses], *list(CHOICES.values())[1:]):
        filters = {name: value for name, value in zip(CHOICES, values, strict=True) if value is not None}
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            query = urlencode({**filters, "limit": 2, "cursor": cursor}, doseq=True)
            page = listed.get(f"/runs?{query}").json()
            found += [run["run_id"] for run in page["items"]]
            cursor = page["next_cursor"]
        assert found == [run_id for run_id, run in RUNS.items() if is_wanted(run, filters)], filters


@pytest.mark.parametrize("name", ["updated_after=0", "cursor=", f"workflow_yaml_sha256={SHA256}"])
def test_a_list_is_an_object_with_a_cursor_when_asked_for_pages(listed: LocalGateway, name: str) -> None:
    page = listed.get(f"/runs?{name}&limit=200").json()
    assert set(page) == {"items", "next_cursor"}
    assert page["next_cursor"] is None
    assert isinstance(listed.get(f"/runs?{name}&limit=1").json()["next_cursor"], str)


def test_the_last_page_says_so_although_it_is_full(listed: LocalGateway) -> None:
    assert listed.get(f"/runs?cursor=&limit={len(RUNS)}").json()["next_cursor"] is None
    assert listed.get(f"/runs?cursor=&limit={len(RUNS) - 1}").json()["next_cursor"] is not None


def test_a_list_is_an_array_otherwise(listed: LocalGateway) -> None:
    assert isinstance(listed.get("/runs?limit=1&status=FAILED&created_after=0&q=b").json(), list)


def test_a_summary_has_exactly_these_fields(listed: LocalGateway) -> None:
    for run in listed.get("/runs?include=records,nothing").json():
        assert set(run) == SUMMARY
        expected = {name: RUNS[run["run_id"]].get(name) for name in SUMMARY}
        assert run == expected


@pytest.mark.parametrize("include", ["full", "all", "FULL", "nothing,full"])
def test_include_full_gives_whole_snapshots(listed: LocalGateway, include: str) -> None:
    runs = listed.get(f"/runs?include={include}").json()
    assert [run["run_id"] for run in runs] == list(RUNS)
    for run in runs:
        assert run == listed.get(f"/runs/{run['run_id']}?include=full").json()
        assert {**run, **RUNS[run["run_id"]]} == run
    page = listed.get(f"/runs?include={include}&cursor=&limit=1").json()
    assert "task_records" in page["items"][0] and page["next_cursor"]


ENCODED = {"[1, 2]": "WzEsIDJd", '[1.0]"': "WzEuMF0i", "[NaN, 'a']": "W05hTiwgImEiXQ", '{"a": 1.0}': "eyJhIjogMS4wfQ"}


@pytest.mark.parametrize(
    ("query", "places"),
    [
        *((f"limit={value}", ["query.limit"]) for value in ("0", "201", "-1", "x", "1.5", "", "1e2", "1_0", "%201")),
        ("limit=" + "9" * 5000, ["query.limit"]),
        ("limit=%D9%A1", ["query.limit"]),
        *((f"status={value}", ["query.status"]) for value in ("", "pending", "DONE", "PENDING,FAILED", "%00")),
        ("status=PENDING&status=x&status=y", ["query.status", "query.status"]),
        *(
            (f"{name}={value}", [f"query.{name}"])
            for name in ("updated_after", "created_after")
            for value in ("", "x", "nan", "inf", "-Infinity", "1e999", "1_0", "0x10", "%201", "2024-01-01")
        ),
        *((f"cursor={value}", ["query.cursor"]) for value in ("x", "%FF", "a" * 5000, *ENCODED.values())),
        ("tag=" + "t" * 129, ["query.tag"]),
        ("flow=" + "f" * 257, ["query.flow"]),
        ("q=" + "q" * 257, ["query.q"]),
        (
            "limit=0&status=x&cursor=x&updated_after=x",
            ["query.status", "query.limit", "query.updated_after", "query.cursor"],
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_that_is_wrong_is_refused_by_its_place(listed: LocalGateway, query: str, places: list[str]) -> None:
    answer = listed.get(f"/runs?{query}")
    assert sorted(fault_places(answer, "ERR-PYOCO-0017")) == sorted(places)
    assert len(answer.content) < 2000


def test_a_list_shows_what_was_told_of_a_run_just_before(shared: LocalGateway, shared_parts: Parts) -> None:
    """A program that had watched a run to its failure asked for the failed runs, and there was none."""
    for number in range(10):
        run_id = f"told-{number}"
        shared_parts.put(run_id, stored_run(run_id, flow_name="told", status="FAILED"))
        assert shared.get(f"/runs/{run_id}").json()["status"] == "FAILED"
        assert run_id in {run["run_id"] for run in shared.get("/runs?status=FAILED&flow=told").json()}
