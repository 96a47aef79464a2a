"""The list of runs: filters in the address, paging by cursor, and what it says when there is nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.pages import Page, visit
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def filled(shared: LocalGateway) -> Iterator[LocalGateway]:
    """A gateway with 120 completed runs, and some of other states."""
    now = time.time()
    with Parts(shared.config.nats_url) as parts:
        parts.put_many(
            [
                stored_run(
                    f"done-{number:03d}", status="COMPLETED", flow_name="bulk", tag="cpu", updated_at=now - number
                )
                for number in range(120)
            ]
            + [
                stored_run("waits", flow_name="nightly", tag="gpu", updated_at=now - 200),
                stored_run("works", status="RUNNING", tasks={"a": "SUCCEEDED", "b": "RUNNING"}, start_time=now - 65),
                stored_run("stopped", status="CANCELLED", updated_at=now - 7_000),
                stored_run("broke-1", status="FAILED", error="KeyError: row 17\nmore", updated_at=now - 100_000),
                stored_run("broke-2", status="FAILED", error="KeyError: row 4", updated_at=now - 100_001),
                stored_run("broke-3", status="FAILED", error="TypeError", updated_at=now - 100_002),
            ]
        )
    eventually(lambda: len(shared.get("/runs?limit=200").json()) == 126, what="the list being filled")
    yield shared


def _shown(page: Page) -> list[str]:
    """Give the ids of the runs on a page, in order."""
    found = [link.removeprefix("/ui/runs/") for link in page.links() if link.startswith("/ui/runs/")]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(
    ("query", "run_ids"),
    [
        ("status=PENDING", ["waits"]),
        ("status=RUNNING&status=PENDING", ["works", "waits"]),
        ("flow=nightly", ["waits"]),
        ("tag=gpu", ["waits"]),
        ("q=broke", ["broke-1", "broke-2", "broke-3"]),
        ("q=night", ["waits"]),
        ("status=CANCELLED&since=1h", []),
        ("status=CANCELLED&since=24h", ["stopped"]),
        ("status=FAILED&since=7d", ["broke-1", "broke-2", "broke-3"]),
    ],
)
def test_a_filter_shows_what_matches(filled: LocalGateway, query: str, run_ids: list[str]) -> None:
    assert _shown(visit(filled, f"/ui/runs?{query}")) == run_ids


def test_the_form_shows_the_filter_that_the_address_holds(filled: LocalGateway) -> None:
    page = visit(filled, "/ui/runs?status=FAILED&flow=a%22b&tag=gpu&q=x&since=7d")
    assert [field.attributes["value"] for field in page.all("input", checked="")] == ["FAILED"]
    assert page.one("input", name="flow").attributes["value"] == 'a"b'
    assert page.one("option", selected="").attributes["value"] == "7d"
    assert page.heading == 'Runs: Failed · flow a"b · tag gpu · beginning with x · in the last 7 days'
    assert page.title.startswith(page.heading)


def test_pages_follow_each_other_without_a_gap_or_a_repeat(filled: LocalGateway) -> None:
    seen: list[str] = []
    path = "/ui/runs?status=COMPLETED"
    while path:
        page = visit(filled, path)
        seen += _shown(page)
        path = next((link.attributes["href"] for link in page.all("a", rel="next")), "")
    assert seen == [f"done-{number:03d}" for number in range(120)]
    assert "/ui/runs?status=COMPLETED" in page.links()


def test_errors_of_one_kind_can_be_listed(filled: LocalGateway) -> None:
    group = next(group for group in filled.reports.failures(0, 9) if group.run_count == 2)
    page = visit(filled, f"/ui/runs?status=FAILED&error={group.failure}")
    assert _shown(page) == ["broke-1", "broke-2"]
    assert "KeyError: row 17" in page.words and "more" not in page.words.split()
    assert page.one("input", name="error").attributes["value"] == group.failure


def test_a_row_says_how_far_a_run_is(filled: LocalGateway) -> None:
    assert "b, 1 of 2 done" in visit(filled, "/ui/runs?status=RUNNING").words
    assert "b\uff082件中1件完了\uff09" in visit(filled, "/ui/runs?status=RUNNING", lang="ja").words
    assert "1 min" in visit(filled, "/ui/runs?status=RUNNING").words


def test_nothing_yet_and_nothing_matches_are_told_apart(
    filled: LocalGateway, nats: NatsServer, serve: Callable[..., LocalGateway]
) -> None:
    assert visit(filled, "/ui/runs?flow=none").all("h2")[0].words == "No run matches"
    empty = serve()
    empty.wait_until_complete()
    page = visit(empty, "/ui/runs?flow=none")
    assert page.all("h2")[0].words == "Nothing has run yet"
    assert "pyoco-client submit-yaml" in page.words
