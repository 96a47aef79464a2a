"""Running again by a form: one run, or those that were ticked; and what earlier attempts have left."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.conftest import HELLO_FLOW
from tests.support.gateway import LocalGateway
from tests.support.pages import Page, read, visit
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

OWN = {"Sec-Fetch-Site": "same-origin"}
_NOW = time.time()


@pytest.fixture(scope="module")
def ended(shared: LocalGateway) -> LocalGateway:
    """A gateway with runs that have ended, one of them without its workflow."""
    workflow = parse_workflow(HELLO_FLOW)
    record = {"state": "SUCCEEDED", "started_at": _NOW - 50, "ended_at": _NOW - 40, "output": 2, "is_resumable": True}
    base: dict[str, Any] = {"flow_name": "again", "params": {"x": 5}, "end_time": _NOW - 30}
    failed = {"status": "FAILED", "error": "ValueError: no", "workflow_yaml_sha256": workflow.sha256, **base}
    failures = [
        {"attempt": 1, "error": "OSError: the first", "ended_at": _NOW - 90, "worker_id": "w-one"},
        {"attempt": 2, "error": "OSError: the second", "ended_at": _NOW - 60, "worker_id": "w-two"},
    ]
    with Parts(shared.config.nats_url) as parts:
        parts.workflows.keep(workflow.sha256, workflow.text)
        parts.put_many(
            [
                stored_run(
                    "broke",
                    tasks={"add_one": "SUCCEEDED", "to_text": "FAILED"},
                    task_records={"add_one": record, "to_text": {"state": "FAILED"}},
                    attempt=3,
                    max_attempts=3,
                    errors=failures,
                    resume_note="It began again from the start: a reason.",
                    **failed,
                ),
                stored_run("broke-too", **failed),
                stored_run("no-flow", **{**failed, "workflow_yaml_sha256": "0" * 64}),
                stored_run("good", **{**failed, "status": "COMPLETED", "error": None}),
                stored_run("waits", **{**failed, "status": "PENDING"}, errors=failures, retry_at=_NOW + 3600),
            ]
        )
    eventually(lambda: len(shared.get("/runs?flow=again").json()) == 5, what="the runs known")
    return shared


def _post(gateway: LocalGateway, path: str, headers: dict[str, str] = OWN, **fields: Any) -> requests.Response:
    return gateway.ask("POST", path, data=fields, headers=headers, allow_redirects=False)


def _fields(page: Page) -> dict[str, str]:
    return {field.attributes["name"]: field.attributes["value"] for field in page.all("input", type="hidden")}


def test_a_run_is_submitted_again_by_the_form_of_its_page_once_for_each_page(ended: LocalGateway) -> None:
    page = visit(ended, "/ui/runs/broke")
    path, fields = page.one("form", method="post").attributes["action"], _fields(page)
    assert [button.attributes["value"] for button in page.all("button", name="from")] == ["all", "failed"]
    first, again = (_post(ended, path, **fields, **{"from": "all"}) for _ in range(2))
    assert (first.status_code, first.headers["Location"]) == (303, again.headers["Location"])
    new = ended.get(first.headers["Location"].replace("/ui/", "/")).json()
    assert (new["rerun_of"], new["params"], new["status"]) == ("broke", {"x": 5}, "PENDING")
    assert "/ui/runs/broke" in visit(ended, first.headers["Location"]).links()
    other = _post(ended, path, **_fields(visit(ended, "/ui/runs/broke")), **{"from": "failed"})
    assert other.headers["Location"] != first.headers["Location"]
    new = ended.get(other.headers["Location"].replace("/ui/", "/")).json()
    assert new["tasks"] == {"add_one": "SUCCEEDED", "to_text": "PENDING"}


def test_a_completed_run_has_nothing_that_failed_and_a_waiting_one_cannot_be_rerun(ended: LocalGateway) -> None:
    assert [button.attributes["value"] for button in visit(ended, "/ui/runs/good").all("button", name="from")] == [
        "all"
    ]
    assert not visit(ended, "/ui/runs/waits").all("button", name="from")
    for run_id in ("good", "waits"):
        refused = read(_post(ended, f"/ui/runs/{run_id}/rerun", once="k", **{"from": "failed"}), status=409)
        assert refused.heading == "This cannot be done as things stand" and "ERR-PYOCO-0026" in refused.words


def test_a_selection_is_submitted_again_and_each_refusal_has_its_reason(ended: LocalGateway) -> None:
    page = visit(ended, "/ui/runs?flow=again&status=FAILED")
    offered = {box.attributes["value"] for box in page.all("input", name="run")}
    assert offered == {"broke", "broke-too", "no-flow"}
    assert {button.attributes["formaction"] for button in page.all("button", name="from")} == {"/ui/rerun"}
    fields = {**_fields(page), "from": "all", "run": [*sorted(offered), "nobody"]}
    shown = read(_post(ended, "/ui/rerun", **fields))
    assert shown.heading == "2 runs were submitted again"
    assert "2 were not, and this is why." in shown.words and "workflow of run no-flow" in shown.words
    assert "/ui/runs?flow=again&status=FAILED" in shown.links()
    new = {link for link in shown.links() if link.startswith("/ui/runs/")} - {"/ui/runs/no-flow", "/ui/runs/nobody"}
    assert len(new) == 2
    assert set(read(_post(ended, "/ui/rerun", **fields)).links()) == set(shown.links())
    read(ended.ask("POST", "/ui/rerun", data=fields, headers={**OWN, "Accept-Language": "ja"}), lang="ja")


def test_what_no_page_of_ours_sends_begins_nothing(ended: LocalGateway) -> None:
    fields = {"run": "broke", "once": "key", "from": "all"}
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}):
        read(_post(ended, "/ui/runs/broke/rerun", headers, **fields), status=403)
        read(_post(ended, "/ui/rerun", headers, **fields), status=403)
    for wrong in ({"once": ""}, {"once": "k" * 65}, {"from": "there"}):
        for path in ("/ui/runs/broke/rerun", "/ui/rerun"):
            words = read(_post(ended, path, **{**fields, **wrong}), status=422).words
            assert f"form.{next(iter(wrong))}" in words
    read(_post(ended, "/ui/runs/nobody/rerun", **fields), status=404)


def test_earlier_attempts_are_read_on_the_page_of_the_run(ended: LocalGateway) -> None:
    page = visit(ended, "/ui/runs/broke")
    assert "2 attempts failed before" in page.words and "3 of 3" in page.words
    assert "OSError: the first" in page.words and "w-two" in page.words
    assert "It began again from the start: a reason." in page.words
    page = visit(ended, "/ui/runs/waits")
    assert page.heading == "again failed and will be tried again"
    assert "Next attempt" in page.words
    assert visit(ended, "/ui/runs/waits", lang="ja").heading == "again は失敗し、再試行を待っています"
