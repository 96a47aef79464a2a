"""The pages of workers and queues."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.pages import Page, read, visit
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually


def _worker(worker_id: str, state: str, tags: Any, **fields: Any) -> dict[str, Any]:
    record = {"worker_id": worker_id, "instance_id": "i", "state": state, "hidden": False, "tags": tags}
    now = time.time()
    return {**record, "last_seen_at": now + 100_000, "updated_at": now, **fields}


@pytest.fixture(scope="module")
def fleet(shared: LocalGateway) -> LocalGateway:
    """A gateway with workers of every state, of ours and of 0.5.1's kind, and waiting runs."""
    now = time.time()
    records = [
        _worker("a-idle", "IDLE", ["cpu"], concurrency=4, host="n1", version="0.6.0", last_run_id="before-1"),
        _worker("b-busy", "RUNNING", ["cpu", "etl"], concurrency=2, current_run_ids=["run-one-x", "run-two-x"]),
        _worker("c-old", "RUNNING", ["etl"], current_run_id="run-three"),
        _worker("d-lost", "RUNNING", ["gpu"], last_seen_at=now - 100, current_run_ids=["run-four"]),
        _worker("e-stopped", "STOPPED_GRACEFUL", ["gpu"], last_seen_at=now - 100),
        _worker("f-hidden", "IDLE", ["gpu"], last_seen_at=now - 100, hidden=True),
        _worker("g-odd", "IDLE", "not a list", concurrency="many", current_run_ids=7),
    ]
    with Parts(shared.config.nats_url) as parts:
        for record in records:
            parts.put(record["worker_id"], record, bucket="pyoco_workers")
        parts.put_many(
            [
                stored_run("w1", tag="gpu", submitted_at=now - 3700),
                stored_run("w2", tag="etl", submitted_at=now - 130),
                stored_run("w3", tag="etl", submitted_at=now - 4000),
                stored_run("w4", tag="etl", submitted_at=now - 9000, attempt=1, retry_at=now + 600),
                stored_run("w5", tag="later", submitted_at=now - 9000, attempt=1, retry_at=now + 600),
            ]
        )
    eventually(
        lambda: len(shared.parts.model.workers()) == 7 and shared.reports.counts() == {"PENDING": 5},
        what="the fleet known",
    )
    return shared


def _rows(page: Page) -> list[str]:
    return [row.words for row in page.all("tr")][1:]


def test_workers_stand_in_the_order_of_their_trouble(fleet: LocalGateway) -> None:
    page = visit(fleet, "/ui/workers")
    assert page.heading == "Workers: 4 alive, 3 of 8 slots busy"
    assert "One is lost." in page.words
    assert [row.split()[:2] for row in _rows(page)] == [
        ["Lost", "d-lost"],
        ["Running", "b-busy"],
        ["Running", "c-old"],
        ["Idle", "a-idle"],
        ["Idle", "g-odd"],
        ["Stopped", "e-stopped"],
    ]
    assert {"/ui/runs/run-one-x", "/ui/runs/run-three", "/ui/runs/before-1"} <= set(page.links())
    assert [row.count("2 / 2") for row in _rows(page) if "b-busy" in row] == [1]
    assert "n1 · 0.6.0" in page.words


def test_hidden_workers_are_one_link_away(fleet: LocalGateway) -> None:
    assert "f-hidden" not in visit(fleet, "/ui/workers").words
    assert "/ui/workers?scope=hidden" in visit(fleet, "/ui/workers").links()
    assert len(_rows(visit(fleet, "/ui/workers?scope=hidden"))) == 1
    assert len(_rows(visit(fleet, "/ui/workers?scope=alive"))) == 4
    assert "query.scope" in visit(fleet, "/ui/workers?scope=x", status=422).words


def test_queues_say_what_waits_and_who_serves_it(fleet: LocalGateway) -> None:
    page = visit(fleet, "/ui/queues")
    assert page.heading == "Queues: 5 runs wait"
    assert "One tag has waiting runs and no worker." in page.words
    gpu, etl, later, cpu = _rows(page)
    assert gpu.startswith("gpu 1 0 1 h 0 / 0 No worker pyoco-worker --tags gpu")
    assert etl.startswith("etl 3 1 1 h 3 / 3 b-busy, c-old")
    # Nobody is missing yet.
    assert later == "later 1 1 \u2013 0 / 0"
    assert cpu.startswith("cpu 0 0 \u2013 2 / 6 b-busy, a-idle")
    assert "Of these, for a retry" in page.words
    assert "うち再試行待ち" in visit(fleet, "/ui/queues", lang="ja").words


def test_both_pages_are_loaded_again_every_five_seconds(fleet: LocalGateway) -> None:
    for path in ("/ui/queues", "/ui/workers"):
        assert fleet.get(path).headers["Refresh"] == "5"
        visit(fleet, path, lang="ja")


def test_an_empty_installation_says_how_to_begin(nats: NatsServer, serve: Callable[..., LocalGateway]) -> None:
    gateway = serve()
    gateway.wait_until_complete()
    for path in ("/ui/queues", "/ui/workers"):
        assert "pyoco-worker --tags default" in visit(gateway, path).words


def test_a_lost_worker_is_hidden_and_shown_again_by_a_form(
    nats: NatsServer, serve: Callable[..., LocalGateway]
) -> None:
    with Parts(nats.url) as parts:
        parts.put("gone", _worker("gone", "IDLE", ["cpu"], last_seen_at=time.time() - 100), bucket="pyoco_workers")
        parts.put("here", _worker("here", "IDLE", ["cpu"]), bucket="pyoco_workers")
    gateway = serve()
    gateway.wait_until_complete()
    forms = visit(gateway, "/ui/workers").all("form", method="post")
    (path,) = [form.attributes["action"] for form in forms if "hidden" in form.attributes["action"]]
    own = {"Sec-Fetch-Site": "same-origin"}
    assert gateway.ask("POST", path, data={"hidden": "true"}, allow_redirects=False).status_code == 403
    for hidden, scope in (("true", "/ui/workers"), ("false", "/ui/workers?scope=hidden")):
        answer = gateway.ask("POST", path, data={"hidden": hidden}, headers=own, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, scope)
        assert (len(_rows(visit(gateway, "/ui/workers"))) == 1) == (hidden == "true")
    assert gateway.ask("POST", "/ui/workers/nobody/hidden", headers=own).status_code == 404


def test_a_worker_is_drained_by_a_form(nats: NatsServer, serve: Callable[..., LocalGateway]) -> None:
    with Parts(nats.url) as parts:
        for worker_id, fields in {
            "here": {},
            "gone": {"last_seen_at": time.time() - 100},
            "old": {"instance_id": ""},
        }.items():
            parts.put(worker_id, {**_worker(worker_id, "IDLE", ["cpu"]), **fields}, bucket="pyoco_workers")
    gateway = serve()
    gateway.wait_until_complete()
    forms = visit(gateway, "/ui/workers").all("form", method="post")
    (path,) = [form.attributes["action"] for form in forms if "drain" in form.attributes["action"]]
    assert gateway.ask("POST", path).status_code == 403
    own = {"Sec-Fetch-Site": "same-origin"}
    answer = gateway.ask("POST", path, headers=own, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/workers/here")
    page = visit(gateway, "/ui/workers")
    assert "Idle Draining here" in page.words and path not in page.html
    refused = read(gateway.ask("POST", "/ui/workers/gone/drain", headers=own), status=409)
    assert refused.heading == "This cannot be done as things stand" and "ERR-PYOCO-0027" in refused.words
