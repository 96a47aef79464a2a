"""The page of a worker: how it is, what it works on, and the wheels that its runs import from."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest

from pyoco_server.client.http import PyocoHttpClient
from tests.support.gateway import LocalGateway
from tests.support.pages import LONG, Page, visit
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually

_NOW = time.time()


def _worker(worker_id: str, sync: Any, **fields: Any) -> dict[str, Any]:
    record = {"worker_id": worker_id, "instance_id": "i", "state": "IDLE", "hidden": False, "tags": ["etl", "cpu"]}
    times = {"last_seen_at": _NOW + 100_000, "updated_at": _NOW}
    return {**record, **times, "concurrency": 4, "wheel_sync": sync, **fields}


def _wheel(package: str, version: str) -> dict[str, Any]:
    file_name = f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
    return {"wheel_name": file_name, "package_name": package, "package_version": version, "installed_at": _NOW - 7300}


_SYNCED = {
    "enabled": True,
    "last_result": "ok",
    "last_attempt_at": _NOW - 3700,
    "last_success_at": _NOW - 7300,
    "selected_count": 60,
    "installed_wheels": [_wheel("acme-etl", "1.8.2"), _wheel("acme-base", "0.4")],
    "skipped_incompatible": [{"wheel_name": "gpu-2-cp312-cp312-any.whl", "reason": "is for cp312"}],
    "missing_requirements": [{"wheel_name": "acme_etl-1.8.2-py3-none-any.whl", "requirement": "pandas>=2"}],
}
_FAILED = {"enabled": True, "last_result": "error", "last_error": "acme-1.0: <b>no RECORD</b>\nand more", "z": 1}
_ODD = {"enabled": True, "last_result": [7], "installed_wheels": [7, {"package_name": 7, "installed_at": "soon"}]}
_ODD.update(selected_count="many", skipped_incompatible="none", missing_requirements=[{"requirement": LONG}])


@pytest.fixture(scope="module")
def fleet(shared: LocalGateway) -> LocalGateway:
    """A gateway with workers that stand in every way to the wheels."""
    working = {"state": "RUNNING", "current_run_ids": ["run-one-x"], "host": "n1", "pid": 4711, "version": "0.6.0"}
    records = [
        _worker("synced", _SYNCED, last_run_id="before-1", last_run_finished_at=_NOW - 3700, **working),
        _worker("failing", _FAILED, drain_requested_at=_NOW - 3700),
        _worker("off", {"enabled": False, "last_result": "disabled"}, last_seen_at=_NOW - 7300, lost_at=_NOW - 3700),
        _worker("new", {"enabled": True, "last_result": "idle"}, state="STOPPED_GRACEFUL", stopped_at=_NOW - 70),
        _worker("odd", _ODD),
        _worker("older", "none", hidden=True),
        _worker("team/w1", "none"),
        # Another program may leave the error of an earlier try there.
        _worker("again", {**_FAILED, "last_result": "ok"}),
    ]
    with Parts(shared.config.nats_url) as parts:
        for record in records:
            parts.put(record["worker_id"], record, bucket="pyoco_workers")
    eventually(lambda: len(shared.parts.model.workers()) == len(records), what="the workers known")
    return shared


def _table(page: Page, labelled_by: str) -> list[str]:
    panel = page.one("section", aria_labelledby=labelled_by)
    return [row.words for row in page.all("tr") if panel in row.outer][1:]


def test_the_list_says_how_the_last_sync_of_each_worker_went(fleet: LocalGateway) -> None:
    page = visit(fleet, "/ui/workers")
    rows = {
        link.words: row.words for row in page.all("tr") for link in page.all("a", class_="flow") if row in link.outer
    }
    assert "In sync 60 wheels" in rows["synced"]
    assert "Sync fails 0 wheels" in rows["failing"]
    assert "ago off" in rows["off"]
    assert "Not tried yet 0 wheels" in rows["new"]
    assert "Not tried yet one wheel" in rows["odd"]
    assert {f"/ui/workers/{quote(name, safe='')}" for name in rows} <= set(page.links())


def test_a_worker_names_its_wheels_with_version_and_file(fleet: LocalGateway) -> None:
    page = visit(fleet, "/ui/workers/synced")
    assert page.heading == "synced is alive, 1 of 4 slots busy"
    wheels = page.one("section", aria_labelledby="wheels").words
    assert "In sync Last try 1 h ago Last success 2 h ago" in wheels and "58 more are not shown." in wheels
    first, second = _table(page, "wheels")
    assert first == "acme-etl 1.8.2 2 h ago acme_etl-1.8.2-py3-none-any.whl" and second.startswith("acme-base 0.4")
    assert _table(page, "others-1") == ["gpu-2-cp312-cp312-any.whl is for cp312"]
    assert _table(page, "others-2") == ["acme_etl-1.8.2-py3-none-any.whl pandas>=2"]
    facts = page.all("dl")[0].words
    assert "Host n1 Process 4711 Version 0.6.0" in facts and "Last run before-1 1 h ago" in facts
    assert {"/ui/runs/run-one-x", "/ui/runs?tag=etl"} <= set(page.links())
    assert fleet.get("/ui/workers/synced").headers["Refresh"] == "5"


def test_a_worker_that_cannot_sync_says_why(fleet: LocalGateway) -> None:
    page = visit(fleet, "/ui/workers/failing")
    assert page.one("section", aria_labelledby="why").words.endswith("acme-1.0: <b>no RECORD</b> and more")
    assert not visit(fleet, "/ui/workers/again").all("section", aria_labelledby="why")
    assert "Draining" in page.words and "Asked to drain 1 h ago" in page.words
    assert not page.all("form", method="post")


def test_a_worker_without_sync_says_how_to_switch_it_on(fleet: LocalGateway) -> None:
    page = visit(fleet, "/ui/workers/off")
    assert page.heading == "off has not been seen for 2 h" and "Found lost 1 h ago" in page.words
    assert "pyoco-worker --wheel-sync --tags etl,cpu" in page.words
    assert page.one("form", method="post").attributes["action"] == "/ui/workers/off/hidden"
    assert visit(fleet, "/ui/workers/new").heading == "new has stopped"
    assert "The registry has no wheel for it." in visit(fleet, "/ui/workers/new").words


def test_a_hidden_worker_and_records_of_other_programs_have_a_page(fleet: LocalGateway) -> None:
    assert "Show again" in visit(fleet, "/ui/workers/older").words
    page = visit(fleet, "/ui/workers/odd", lang="ja")
    assert "7" in _table(page, "wheels")[0] and len(page.html) < 20_000


def test_a_worker_whose_name_has_a_slash_is_found_and_changed(fleet: LocalGateway) -> None:
    path = "/ui/workers/team%2Fw1"
    assert path in visit(fleet, "/ui/workers").links()
    page = visit(fleet, path)
    assert page.heading == "team/w1 is alive, 0 of 4 slots busy"
    own = {"Sec-Fetch-Site": "same-origin"}
    assert [form.attributes["action"] for form in page.all("form", method="post")] == [f"{path}/drain"]
    for action, there in {"hidden": "/ui/workers?scope=hidden", "drain": path}.items():
        answer = fleet.ask("POST", f"{path}/{action}", headers=own, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, there)
    with PyocoHttpClient(fleet.url) as client:
        assert client.patch_worker_hidden("team/w1", False)["worker_id"] == "team/w1"
        assert client.drain_worker("team/w1")["worker_id"] == "team/w1"
    assert fleet.get(f"{path}/drain").status_code == 404
    assert fleet.ask("PATCH", "/workers/w1%2Fdrain", json={"hidden": False}).status_code == 404


def test_a_run_links_its_worker_where_that_has_a_page_and_names_it_otherwise(fleet: LocalGateway) -> None:
    before = [{"attempt": 1, "error": "no", "ended_at": _NOW - 60, "worker_id": "polls-2"}]
    with Parts(fleet.config.nats_url) as parts:
        # One that asks over HTTP has no record.
        for run_id, worker_id in {"here": "synced", "polled": "polls-1", "odd": "\ud800"}.items():
            run = stored_run(run_id, status="RUNNING", start_time=_NOW - 30, worker_id=worker_id, errors=before)
            parts.put(run_id, run)
    eventually(lambda: len(fleet.get("/runs").json()) == 3, what="the runs known")
    pages = {"/": "polls-1", "/ui/runs": "polls-1", "/ui/runs/polled": "polls-1", "/ui/runs/here": "polls-2"}
    for path, named in pages.items():
        page = visit(fleet, path)
        assert named in page.words
        assert not any(link.startswith("/ui/workers/polls-") for link in page.links()), path
        assert ("/ui/workers/synced" in page.links()) == (path != "/ui/runs/polled"), path


def test_a_worker_that_nobody_knows_is_not_found(fleet: LocalGateway) -> None:
    page = visit(fleet, "/ui/workers/nobody", status=404)
    assert "There is no worker nobody." in page.words and "ERR-PYOCO-0020" in page.words


@pytest.mark.parametrize("name", ["synced", "failing", "off", "new", "older"])
def test_a_japanese_reader_reads_it_in_japanese(fleet: LocalGateway, name: str) -> None:
    page = visit(fleet, f"/ui/workers/{name}", lang="ja")
    assert "ワーカー" in page.words and "Wheel" not in page.words


def test_the_menu_says_of_which_list_it_is_a_part(fleet: LocalGateway) -> None:
    current = {"/ui/workers": "page", "/ui/workers/synced": "true"}
    for path, word in current.items():
        (link,) = [link for link in visit(fleet, path).all("a", aria_current=word) if link.words == "Workers"]
        assert link.attributes["href"] == "/ui/workers"
