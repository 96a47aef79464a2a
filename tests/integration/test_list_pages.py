"""``GET /runs`` page by page, while runs come, change and go."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.gateway import LocalGateway
from tests.support.parts import Parts, stored_run

COUNT = 400
#: All runs share three times, as after a batch.
TIMES = (1000.0, 1000.25, 1001.0)


def store_runs(gateway: LocalGateway, parts: Parts) -> list[str]:
    """Store the runs and give their ids in the order of the list."""
    order = random.Random(2)
    documents = [
        stored_run(f"run-{order.random()}", status=order.choice(["PENDING", "FAILED"]), updated_at=order.choice(TIMES))
        for _ in range(COUNT)
    ]
    gateway.wait_until_applied(parts.put_many(documents))
    documents.sort(key=lambda document: (document["updated_at"], document["run_id"]), reverse=True)
    return [document["run_id"] for document in documents]


@pytest.fixture(scope="module")
def run_ids(shared: LocalGateway, shared_parts: Parts) -> list[str]:
    return store_runs(shared, shared_parts)


def read_all(gateway: LocalGateway, query: str, between: Callable[[list[str]], Any] = lambda seen: None) -> list[str]:
    """Go through all pages; ``between`` is called with what was seen so far before each further page."""
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = gateway.get(f"/runs?{query}&cursor={cursor}").json()
        seen += [run["run_id"] for run in page["items"]]
        cursor = page["next_cursor"]
        between(seen)
    return seen


@pytest.mark.parametrize("limit", [7, 50, 80, 200])
def test_pages_show_every_run_once_in_one_order_though_times_are_equal(
    shared: LocalGateway, run_ids: list[str], limit: int
) -> None:
    assert read_all(shared, f"limit={limit}") == run_ids


def test_pages_of_several_states_are_those_of_the_whole_list(shared: LocalGateway, run_ids: list[str]) -> None:
    assert read_all(shared, "limit=30&status=PENDING&status=FAILED") == run_ids
    parted = [read_all(shared, f"limit=30&status={status}") for status in ("PENDING", "FAILED")]
    assert min(map(len, parted)) > COUNT / 3
    assert sorted(parted[0] + parted[1]) == sorted(run_ids)


def test_a_list_has_fifty_runs_unless_told_otherwise(shared: LocalGateway, run_ids: list[str]) -> None:
    for query in ("", "?cursor="):
        runs = shared.get(f"/runs{query}").json()
        assert [run["run_id"] for run in (runs["items"] if query else runs)] == run_ids[:50]


def test_what_changes_between_pages_is_seen_once_or_found_by_updated_after(local: LocalGateway, parts: Parts) -> None:
    run_ids = store_runs(local, parts)
    order = random.Random(3)
    began_at = 2000.0
    moved: set[str] = set()
    unseen_removed: set[str] = set()
    unseen_moved: set[str] = set()

    def disturb(seen: list[str]) -> None:
        rest = [run_id for run_id in run_ids if run_id not in seen and run_id not in moved | unseen_removed]
        known = [run_id for run_id in seen if run_id not in moved]
        now = began_at + len(seen)
        for run_id in order.sample(known, 3) + order.sample(rest, min(3, len(rest))):
            parts.change(run_id, updated_at=now)
            moved.add(run_id)
            if run_id not in seen:
                unseen_moved.add(run_id)
        for run_id in order.sample(rest, min(2, len(rest))):
            if run_id not in moved:
                parts.tombstone(run_id)
                unseen_removed.add(run_id)
        local.wait_until_applied(parts.put(f"new-{len(seen)}", stored_run(f"new-{len(seen)}", updated_at=now)))

    seen = read_all(local, "limit=40", disturb)
    assert len(seen) == len(set(seen)), "a run was shown twice"
    assert set(run_ids) - set(seen) == unseen_moved | unseen_removed
    assert len(unseen_moved) > 15 and len(unseen_removed) > 5

    changed = read_all(local, f"limit=40&updated_after={began_at}")
    news = {run_id for run_id in changed if run_id.startswith("new-")}
    assert set(changed) - news == moved
    assert len(news) == len(seen) // 40 + bool(len(seen) % 40)
