"""The page of the wheel registry: look, upload, delete."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests

from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway
from tests.support.pages import LONG, SCRIPT, Page, read, visit
from tests.support.parts import Parts
from tests.support.waiting import eventually
from tests.support.wheels import file_name, wheel

OWN = {"Sec-Fetch-Site": "same-origin"}
PATH = "/ui/wheels"


def _send(
    gateway: LocalGateway, package: str, version: str = "1.0", headers: dict[str, str] = OWN, **fields: str
) -> requests.Response:
    data = fields.pop("data", "").encode() or wheel(package, version)
    form = {"wheel": (file_name(package, version), data)}
    return gateway.ask("POST", PATH, files=form, data=fields, headers=headers, allow_redirects=False)


def _rows(page: Page, package: str) -> list[str]:
    return [row.words for row in page.all("tr") if row.words.startswith(f"{package} ")]


def _worker(worker_id: str, **fields: Any) -> dict[str, Any]:
    now = time.time()
    record = {"worker_id": worker_id, "instance_id": "i", "state": "IDLE", "hidden": False, "tags": ["gpu"]}
    return {**record, "last_seen_at": now + 1000, "updated_at": now, **fields}


def test_an_uploaded_wheel_is_listed_with_who_has_it_and_what_was_done(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    for version in ("1.0", "1.10", "1.9.1"):
        answer = _send(shared, "acme", version, tags="gpu, cpu")
        if version != "1.9.1":
            assert (answer.status_code, answer.headers["Location"]) == (303, PATH)
    has = {"enabled": True, "installed_wheels": [{"wheel_name": file_name("acme", "1.10")}]}
    for worker_id, fields in {
        "has": {"wheel_sync": has},
        "has-not": {"wheel_sync": {"enabled": True, "installed_wheels": "none"}},
        "is-gone": {"wheel_sync": {"enabled": True}, "last_seen_at": time.time() - 1000},
        "has-no-sync": {"wheel_sync": 7},
        "serves-another-tag": {"wheel_sync": {"enabled": True}, "tags": ["other"]},
    }.items():
        shared_parts.put(worker_id, _worker(worker_id, **fields), bucket="pyoco_workers")
    eventually(lambda: len(shared.parts.model.workers()) == 5, what="the workers known")
    page = visit(shared, PATH)
    newest, older = _rows(page, "acme")
    assert newest.startswith("acme 1.10 py3-none-any gpu cpu 1 of 2 not on has-not")
    assert older.startswith("acme 1.0 py3-none-any gpu cpu a newer one counts")
    assert f"/wheels/{file_name('acme', '1.10')}" in page.links()
    history = page.one("section", aria_labelledby="hist").words
    assert history.index(file_name("acme", "1.10")) < history.index(file_name("acme", "1.0"))
    assert "python-requests" in history
    assert _rows(visit(shared, PATH, lang="ja"), "acme")


def test_a_worker_lacks_no_wheel_that_it_skips_or_has_no_room_to_name(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    for package in ("skipped", "unnamed"):
        assert _send(shared, package, tags="full").status_code == 303
    skips = [{"wheel_name": file_name("skipped"), "reason": "it is for another interpreter"}]
    many = [{"wheel_name": file_name(f"other{number}")} for number in range(49)]
    for worker_id, installed in {"full": [*many, {"wheel_name": file_name("own")}], "not-full": many}.items():
        sync = {"enabled": True, "installed_wheels": installed, "skipped_incompatible": skips}
        shared_parts.put(worker_id, _worker(worker_id, tags=["full"], wheel_sync=sync), bucket="pyoco_workers")
    known = {"full", "not-full"}
    eventually(lambda: known <= {record.worker_id for record in shared.parts.model.workers()}, what="the workers known")
    page = visit(shared, PATH)
    (skipped,), (unnamed,) = _rows(page, "skipped"), _rows(page, "unnamed")
    assert "full no worker syncs it" in skipped
    assert "0 of 2 not on not-full One worker does not name all its wheels." in unnamed


def test_a_refused_wheel_is_answered_with_the_page_and_the_reason(shared: LocalGateway) -> None:
    assert _send(shared, "twice").status_code == 303
    again = read(_send(shared, "twice"), status=409)
    assert again.heading == "The wheel was refused" and "1.0" in again.one("section", role="alert").words
    broken = read(_send(shared, "broken", data="no zip"), status=422)
    assert broken.one("section", role="alert").words
    assert "form.wheel" in read(shared.ask("POST", PATH, headers=OWN), status=422).words
    assert "form.tags" in read(_send(shared, "third", tags="a b"), status=422).words
    assert _rows(broken, "twice") and not _rows(broken, "broken")


def test_a_wheel_is_deleted(shared: LocalGateway) -> None:
    _send(shared, "away")
    form = {"name": file_name("away")}
    (button,) = visit(shared, PATH).all("button", name="name", value=form["name"])
    assert any(outer.has({"action": f"{PATH}/delete"}) for outer in button.outer)
    answer = shared.ask("POST", f"{PATH}/delete", data=form, headers=OWN, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, PATH)
    assert not _rows(visit(shared, PATH), "away")
    read(shared.ask("POST", f"{PATH}/delete", data=form, headers=OWN), status=404)


def test_what_another_site_sends_neither_uploads_nor_deletes(shared: LocalGateway) -> None:
    _send(shared, "stays")
    read(_send(shared, "foreign", headers={"Sec-Fetch-Site": "cross-site"}), status=403)
    read(shared.ask("POST", f"{PATH}/delete", data={"name": file_name("stays")}), status=403)
    page = visit(shared, PATH)
    assert _rows(page, "stays") and not _rows(page, "foreign")


@pytest.mark.parametrize("name", [SCRIPT, LONG[:2000], "no-wheel.txt"], ids=["script", "long", "other"])
def test_objects_and_events_of_other_programs_are_shown_as_what_they_are(
    shared: LocalGateway, shared_parts: Parts, name: str
) -> None:
    entry = {"name": name, "bucket": "pyoco_wheels", "nuid": "x", "size": 0, "digest": "SHA-256=", "mtime": name}
    shared_parts.bus.write(Write(names.object_subject("pyoco_wheels", name), json.dumps(entry).encode()))
    event = {"wheel_name": name, "occurred_at": name, "action": 7, "actor": name, "source": {"user_agent": [name]}}
    shared_parts.put(f"{time.time_ns() // 10**6:013d}_x", event, bucket="pyoco_wheel_history")
    page = visit(shared, PATH)
    assert "no wheel" in page.words and name[:200] in page.words and not page.all("img")


def test_a_key_that_may_only_read_uploads_nothing(guarded: Guarded) -> None:
    reader = {"X-API-Key": guarded.known_key("one", is_read_only=True), **OWN}
    read(_send(guarded.gateway, "mine", headers=reader), status=403)
    writer = {"X-API-Key": guarded.known_key("one"), **OWN}
    assert _send(guarded.gateway, "mine", headers=writer).status_code == 303
    assert _rows(visit(guarded.gateway, PATH, headers=reader), "mine")
