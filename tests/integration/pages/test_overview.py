"""The first page: four counts, what needs somebody, what failed, what runs now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from pyoco_server.bridge.messages import Write
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.pages import visit
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually


def _worker(now: float, worker_id: str, tags: list[str], **fields: Any) -> dict[str, Any]:
    record = {"worker_id": worker_id, "instance_id": "i", "state": "IDLE", "hidden": False, "tags": tags}
    return {**record, "last_seen_at": now + 1000, "updated_at": now, **fields}


def _ended(
    now: float, run_id: str, status: str, age_sec: float, took_sec: float = 60.0, **fields: Any
) -> dict[str, Any]:
    end = now - age_sec
    times = {"start_time": end - took_sec, "end_time": end, "updated_at": end}
    return stored_run(run_id, status=status, **{**times, **fields})


@pytest.fixture(scope="module")
def busy(shared: LocalGateway) -> LocalGateway:
    """A gateway on an installation with something of everything."""
    # Not at the import: minutes may lie between the two.
    now = time.time()
    with Parts(shared.config.nats_url) as parts:
        parts.put_many(
            [
                *[_ended(now, f"done-{number}", "COMPLETED", 7200.0, flow_name="import") for number in range(6)],
                _ended(now, "old", "COMPLETED", 200_000.0),
                _ended(now, "f1", "FAILED", 500.0, flow_name="crm", error="Timeout after 31 s"),
                _ended(now, "f2", "FAILED", 900.0, flow_name="crm", error="Timeout after 30 s"),
                _ended(now, "f3", "FAILED", 5.0, error="KeyError"),
                _ended(now, "f4", "FAILED", 90_000.0, error="KeyError"),
                stored_run("w1", tag="gpu", submitted_at=now - 2400),
                stored_run("w2", tag="gpu", submitted_at=now - 60),
                stored_run("w3", tag="cpu", submitted_at=now - 60),
                stored_run("r1", status="RUNNING", flow_name="import", start_time=now - 50, submitted_at=now - 400),
                stored_run("r2", status="RUNNING", flow_name="import", start_time=now - 300, submitted_at=now - 300),
            ]
        )
        for worker in (
            _worker(now, "alive", ["cpu"], concurrency=4, current_run_ids=["r1", "r2"], state="RUNNING"),
            _worker(now, "gone", ["gpu"], last_seen_at=now - 700, state="RUNNING", current_run_ids=["f1"]),
            _worker(now, "hidden", ["gpu"], last_seen_at=now - 700, hidden=True),
            _worker(now, "stopped", ["gpu"], last_seen_at=now - 700, state="STOPPED_GRACEFUL"),
        ):
            parts.put(worker["worker_id"], worker, bucket="pyoco_workers")
    eventually(
        lambda: len(shared.parts.model.workers()) == 4 and len(shared.get("/runs?limit=200").json()) == 16,
        what="the model holding it all",
    )
    return shared


def test_each_count_is_a_link_to_what_it_counts(busy: LocalGateway) -> None:
    page = visit(busy, "/")
    for count in page.all("a", class_="count"):
        number = int(next(part.words for part in page.all("span", class_="count-num") if count in part.outer))
        listed = visit(busy, count.attributes["href"])
        assert len(listed.all("td", class_="top")) == 2 * number, count.words
    assert [count.words.split()[0] for count in page.all("a", class_="count")] == [
        "Waiting",
        "Running",
        "Failed",
        "Dead",
    ]


def test_what_needs_somebody_stands_first(busy: LocalGateway) -> None:
    page = visit(busy, "/")
    assert page.heading == "3 things need you"
    needs = page.one("section", aria_labelledby="needs").words
    assert "2 runs wait for tag gpu and nobody serves it" in needs and "The oldest waits 40 min" in needs
    assert "gone has not been seen for 11 min" in needs and "hidden" not in needs and "stopped" not in needs
    assert "import has been running for 5 min" in needs and "It usually takes 1 min" in needs


def test_a_full_stream_and_a_worker_out_of_sync_need_somebody(
    nats: NatsServer, serve: Callable[..., LocalGateway]
) -> None:
    now = time.time()
    failed = {"enabled": True, "last_result": "error", "last_error": "acme-1.0: <b>no RECORD</b>\nand more"}
    gateway = serve()
    gateway.submit()
    with Parts(nats.url) as parts:
        parts.put("stale", _worker(now, "stale", ["default"], wheel_sync=failed), bucket="pyoco_workers")
        parts.put("odd", _worker(now, "odd", ["default"], wheel_sync="none"), bucket="pyoco_workers")
        # NATS lists 256 streams at a time, by name: ours are not among the first.
        for number in range(260):
            name = f"A{number}"
            parts.bus.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [name], "storage": "memory"})
        settings = parts.info("PYOCO_DLQ")["config"]
        parts.bus.api("STREAM.UPDATE.PYOCO_DLQ", {**settings, "max_bytes": 2000})
        eventually(lambda: len(gateway.parts.model.workers()) == 2, what="the workers known")
        assert visit(gateway, "/").heading == "One thing needs you"
        parts.bus.write(Write("pyoco.dlq.t", b"x" * 1850))
    # As the dispatcher does every few seconds.
    gateway.parts.storage.look()
    page = visit(gateway, "/")
    assert page.heading == "2 things need you"
    needs = page.one("section", aria_labelledby="needs").words
    assert "Nearly full PYOCO_DLQ is 9" in needs and "2.0 kB" in needs
    assert "stale cannot sync its wheels acme-1.0: <b>no RECORD</b>" in needs and "and more" not in needs
    visit(gateway, "/", lang="ja")


def test_a_flow_that_takes_no_time_at_all_is_never_overdue(
    nats: NatsServer, serve: Callable[..., LocalGateway]
) -> None:
    now = time.time()
    with Parts(nats.url) as parts:
        parts.put_many(
            [
                *[_ended(now, f"done-{number}", "COMPLETED", 60.0, took_sec=0.0) for number in range(6)],
                stored_run("goes-on", status="RUNNING", start_time=now - 30, submitted_at=now - 30),
            ]
        )
    gateway = serve()
    gateway.wait_until_complete()
    page = visit(gateway, "/")
    assert page.heading == "All is well"
    assert page.one("div", class_="age").attributes["class"] == "age is-running"


def test_failures_are_grouped_by_error_each_with_its_list(busy: LocalGateway) -> None:
    page = visit(busy, "/")
    rows = [row.words for row in page.all("tr") if page.one("section", aria_labelledby="errors") in row.outer][1:]
    assert [row.split()[:2] for row in rows] == [["Timeout", "after"], ["KeyError", "main"]]
    (link,) = [link for link in page.all("a") if link.words == "Timeout after 31 s"]
    assert "f2" in visit(busy, link.attributes["href"]).words


def test_what_runs_now_shows_its_age_beside_the_usual_one_overdue_first(busy: LocalGateway) -> None:
    page = visit(busy, "/")
    ages = page.all("div", class_="age")
    assert [age.attributes["class"] for age in ages] == ["age is-warning", "age is-running"]
    assert "Overdue" in ages[0].words and "usual 1 min" in ages[1].words


def test_the_last_hours_are_drawn_and_told(busy: LocalGateway) -> None:
    page = visit(busy, "/")
    chart = page.one("svg", class_="chart")
    assert chart.attributes["aria-label"].endswith("6 completed, 3 failed.")
    assert "2 / 4" in page.one("section", aria_labelledby="queues").words
    assert "No worker" in page.one("section", aria_labelledby="queues").words


def test_a_japanese_reader_reads_it_in_japanese(busy: LocalGateway) -> None:
    page = visit(busy, "/", lang="ja")
    assert page.heading.endswith("3件")
    assert "gpu で2件が待機中" in page.words


def test_without_any_run_the_page_says_what_to_do(nats: NatsServer, serve: Callable[..., LocalGateway]) -> None:
    gateway = serve()
    gateway.wait_until_complete()
    page = visit(gateway, "/")
    assert page.heading == "Nothing has run yet"
    assert f"curl --data-binary @flow.yaml '{gateway.url}/runs/yaml?flow_name=main'" in page.words
    assert not page.all("li", class_="is-done")
    with Parts(nats.url) as parts:
        parts.put("w", _worker(time.time(), "w", ["default"]), bucket="pyoco_workers")
        eventually(lambda: visit(gateway, "/").all("li", class_="is-done"), what="the worker's step being ticked off")
        parts.put_many([_ended(time.time(), "done", "COMPLETED", 1)])
        eventually(lambda: visit(gateway, "/").heading == "All is well", what="the first run being shown")
