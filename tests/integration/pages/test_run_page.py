"""The page of one run, in each of its states."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.support.gateway import LocalGateway
from tests.support.pages import visit
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

FLOW = """\
version: 1
flow:
  graph: |
    fetch >> merge
    rates >> merge
    merge >> load
tasks:
  fetch: {callable: "jobs:fetch"}
  rates: {callable: "jobs:rates"}
  merge: {callable: "jobs:merge"}
  load: {callable: "jobs:load"}
"""
_NOW = time.time()
SHA256 = "5a" * 32


def _record(begin: float, end: float | None, **fields: Any) -> dict[str, Any]:
    return {"started_at": _NOW - 100 + begin, "ended_at": None if end is None else _NOW - 100 + end, **fields}


def _failed(run_id: str, sha256: str) -> dict[str, Any]:
    return stored_run(
        run_id,
        flow_name="nightly",
        status="FAILED",
        tag="etl",
        tags=["finance", "daily"],
        error="KeyError: 'THB'",
        workflow_yaml_sha256=sha256,
        worker_id="tokyo-1",
        submitted_at=_NOW - 105,
        start_time=_NOW - 100,
        end_time=_NOW - 60,
        attempt=2,
        wheels=[{"name": "etl-tasks", "version": "1.4.2", "sha256": SHA256}],
        params={"date": "2026-11-17"},
        tasks={"fetch": "SUCCEEDED", "rates": "SUCCEEDED", "merge": "FAILED", "load": "PENDING"},
        task_records={
            "fetch": _record(0, 20, state="SUCCEEDED", output={"rows": 3}),
            "rates": _record(0, 1, state="SUCCEEDED", output=0),
            "merge": _record(20, 40, error="KeyError: 'THB'", traceback="Traceback\n  line 7", inputs={"fetch": 1}),
        },
    )


@pytest.fixture(scope="module")
def stored(shared: LocalGateway) -> LocalGateway:
    """A gateway with runs of many kinds."""
    workflow = parse_workflow(FLOW)
    with Parts(shared.config.nats_url) as parts:
        parts.workflows.keep(workflow.sha256, workflow.text)
        live = _failed("live", workflow.sha256)
        live.update(status="RUNNING", error=None, end_time=None)
        live["tasks"] = {**live["tasks"], "merge": "RUNNING"}
        live["task_records"]["merge"] = _record(20, None, state="RUNNING")
        usual = {"status": "COMPLETED", "flow_name": "nightly", "start_time": _NOW - 2000, "end_time": _NOW - 1940}
        parts.put_many(
            [
                _failed("broke", workflow.sha256),
                live,
                stored_run("waits", tag="gpu", submitted_at=_NOW - 300),
                stored_run("done", status="COMPLETED", start_time=_NOW - 9, end_time=_NOW - 7),
                stored_run(
                    "stopped", status="CANCELLED", cancel_requested_at=_NOW - 5, cancel_requested_by="api_key:k1"
                ),
                *[stored_run(f"usual-{number}", **usual) for number in range(5)],
            ]
        )
    eventually(lambda: len(shared.get("/runs?limit=200").json()) == 10, what="the runs being known")
    return shared


def test_a_failed_run_says_why_and_where(stored: LocalGateway) -> None:
    page = visit(stored, "/ui/runs/broke")
    assert page.heading == "nightly failed in merge"
    assert page.one("section", aria_labelledby="why").words.startswith(
        "Why it failed KeyError: 'THB' Raised in task merge"
    )
    assert "Traceback line 7" in page.words
    assert "2 Succeeded · 1 Failed · 1 Not started" in page.words
    for text in ("etl", "finance", "daily", "tokyo-1", "40 s", '"2026-11-17"', '{"rows": 3}'):
        assert text in page.words
    assert "/runs/broke?include=full" in page.links()
    assert f"curl '{stored.url}/runs/broke?include=records'" in page.words


def test_the_flow_is_drawn_with_states_by_word_shape_and_colour(stored: LocalGateway) -> None:
    page = visit(stored, "/ui/runs/broke")
    nodes = page.all("a", class_="node")
    assert [node.words.split()[0] for node in nodes] == ["fetch", "merge", "rates", "load"]
    assert [node.attributes["class"] for node in nodes] == [
        "node is-completed",
        "node is-failed",
        "node is-completed",
        "node is-pending",
    ]
    assert "Failed · 20 s" in nodes[1].words
    assert nodes[1].attributes["href"] == "?task=merge#task"
    assert len(page.all("path", class_="edge")) == 3
    assert len(page.all("path", class_="edge--idle")) == 1


def test_tasks_stand_in_the_timeline_in_the_order_in_which_they_began(stored: LocalGateway) -> None:
    page = visit(stored, "/ui/runs/broke")
    rows = [row for row in page.all("li") if row.outer[-1].has({"class": "gantt"})][1:]
    assert [row.words.split()[0] for row in rows] == ["fetch", "rates", "merge", "load"]
    words = [lane.attributes["aria-label"] for lane in page.all("svg", role="img") if lane.outer[-1] in rows]
    assert words == ["Succeeded", "Succeeded", "Failed", "Not started"]
    bars = {bar.outer[-2].words.split()[0]: bar.attributes for bar in page.all("rect", class_="span")}
    assert bars.keys() == {"fetch", "rates", "merge"}
    assert float(bars["merge"]["x"].rstrip("%")) == pytest.approx(49, abs=0.5)


def test_a_task_that_is_asked_for_shows_its_values(stored: LocalGateway) -> None:
    panel = visit(stored, "/ui/runs/broke?task=merge").one("section", id="task")
    assert "Task merge" in panel.words and '"fetch": 1' in panel.words
    assert not visit(stored, "/ui/runs/broke").all("section", id="task")
    assert not visit(stored, "/ui/runs/broke?task=nobody").all("section", id="task")


def test_a_live_run_says_how_long_it_usually_takes_and_is_loaded_again(stored: LocalGateway) -> None:
    answer = stored.get("/ui/runs/live")
    assert answer.headers["Refresh"] == "5"
    page = visit(stored, "/ui/runs/live")
    assert page.heading == "nightly is in merge, 2 of 4 tasks done"
    assert "it usually takes 1 min" in page.words
    assert page.all("line", class_="now") and page.all("line", class_="usual")
    assert "Refresh" not in stored.get("/ui/runs/broke?refresh=5").headers


@pytest.mark.parametrize(
    ("run_id", "heading", "japanese"),
    [
        ("waits", "main waits for a worker of tag gpu", "main はタグ gpu のワーカーを待っています"),
        ("done", "main completed in 2.0 s", "main は2.0秒で完了しました"),
        ("stopped", "main was cancelled", "main はキャンセルされました"),
        ("broke", "nightly failed in merge", "nightly は merge で失敗しました"),
    ],
)
def test_the_heading_says_how_the_run_is(stored: LocalGateway, run_id: str, heading: str, japanese: str) -> None:
    page = visit(stored, f"/ui/runs/{run_id}")
    assert page.heading == heading and page.title.startswith(heading)
    assert visit(stored, f"/ui/runs/{run_id}", lang="ja").heading == japanese
    assert ("api_key:k1" in page.words) == (run_id == "stopped")


@pytest.mark.parametrize(
    ("lang", "heading", "none"),
    [
        (
            "en",
            "Wheels it imports from The registry Package Version SHA-256",
            "The registry has no wheel for its worker.",
        ),
        (
            "ja",
            "読み込んだ wheel 登録済みの wheel パッケージ バージョン SHA-256",
            "このワーカー向けの wheel は登録されていません。",
        ),
    ],
)
def test_a_run_says_from_which_wheels_its_code_came(stored: LocalGateway, lang: str, heading: str, none: str) -> None:
    panel = visit(stored, "/ui/runs/broke", lang=lang).one("section", aria_labelledby="wheels")
    assert panel.words == f"{heading} etl-tasks 1.4.2 {SHA256}"
    with Parts(stored.config.nats_url) as parts:
        parts.put("bare", stored_run("bare", status="COMPLETED", wheels=[]))
        many = [{"name": f"package-{number}", "version": "1", "sha256": SHA256} for number in range(45)]
        parts.put("rich", stored_run("rich", status="COMPLETED", wheels=many))
    assert none in visit(stored, "/ui/runs/bare", lang=lang).one("section", aria_labelledby="wheels").words
    rich = visit(stored, "/ui/runs/rich", lang=lang).one("section", aria_labelledby="wheels").words
    assert "package-39" in rich and "package-40" not in rich and "5" in rich.rpartition(SHA256)[2]
    assert not visit(stored, "/ui/runs/done", lang=lang).all("section", aria_labelledby="wheels")


def test_a_run_that_is_not_there_is_a_page(stored: LocalGateway) -> None:
    page = visit(stored, "/ui/runs/nothing", status=404)
    assert "ERR-PYOCO-0005" in page.words
    assert page.heading == "There is nothing here"


def test_a_run_whose_workflow_is_not_kept_is_shown_without_its_graph(stored: LocalGateway) -> None:
    with Parts(stored.config.nats_url) as parts:
        parts.put("lost", {**_failed("lost", "0" * 64)})
    page = visit(stored, "/ui/runs/lost")
    assert not page.all("a", class_="node")
    assert page.all("rect", class_="span")


def test_a_run_that_is_being_cancelled_says_so_and_offers_no_second_cancel(stored: LocalGateway) -> None:
    held = {"worker_id": "w", "instance_id": "i", "start_time": time.time(), "job_seq": 1}
    with Parts(stored.config.nats_url) as parts:
        parts.put("stops", stored_run("stops", status="CANCELLING", **held))
    page = visit(stored, "/ui/runs/stops")
    assert page.heading == "main is being cancelled"
    assert not page.all("form", method="post")
