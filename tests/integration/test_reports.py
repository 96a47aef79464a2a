"""What the pages ask of all runs: tallies stay true whatever happens to runs, and groups are what a person expects."""

from __future__ import annotations

import time

from pyoco_server.readmodel.reports import Reports
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually


def _filled(parts: Parts, *documents: dict[str, object]) -> Reports:
    """Store runs, and give the reports once the model holds the last of them."""
    parts.put_many(list(documents))
    last = documents[-1]["run_id"]
    eventually(lambda: parts.model.run(str(last)) is not None, what="the model holding the runs")
    return Reports(parts.model, None)


def test_counts_follow_changes_replacements_and_removals(parts: Parts) -> None:
    now = time.time()
    reports = _filled(
        parts,
        stored_run("a", status="PENDING", tag="gpu", flow_name="one"),
        stored_run("b", status="RUNNING", tag="gpu", flow_name="two"),
        stored_run("c", status="COMPLETED", tag="cpu", flow_name="two", updated_at=now),
    )
    assert reports.counts() == {"PENDING": 1, "RUNNING": 1, "COMPLETED": 1}
    assert (reports.flow_names(), reports.tags()) == (["two", "one"], ["gpu", "cpu"])
    hour = int(now // 3600)
    assert reports.ended_by_hour(hour - 1) == {hour: {"COMPLETED": 1}}

    for _ in range(3):
        parts.put("b", stored_run("b", status="FAILED", tag="gpu", flow_name="two", updated_at=now, error="x"))
    parts.put("a", b"")
    parts.put_many([stored_run("c", status="COMPLETED", tag="cpu", flow_name="three", updated_at=now - 7200)])
    eventually(lambda: reports.flow_names() == ["three", "two"], what="the changes being applied")
    assert reports.counts() == {"FAILED": 1, "COMPLETED": 1}
    assert reports.ended_by_hour(hour - 3) == {hour: {"FAILED": 1}, hour - 2: {"COMPLETED": 1}}
    assert reports.ended_since("COMPLETED", now - 3600) == 0
    assert reports.ended_since("FAILED", now - 3600) == 1


def test_waiting_runs_are_counted_by_tag_the_longest_wait_first(parts: Parts) -> None:
    reports = _filled(
        parts,
        stored_run("a", tag="cpu", submitted_at=500.0),
        stored_run("b", tag="gpu", submitted_at=300.0),
        stored_run("c", tag="gpu", submitted_at=200.0),
        stored_run("e", tag="gpu", submitted_at=50.0, retry_at=900.0),
        stored_run("f", tag="ftp", submitted_at=50.0, retry_at=900.0),
        stored_run("d", tag="etl", submitted_at=100.0, status="RUNNING"),
    )
    assert [(tag.tag, tag.run_count, tag.retry_count, tag.oldest_at) for tag in reports.waiting()] == [
        ("gpu", 3, 1, 200.0),
        ("cpu", 1, 0, 500.0),
        ("ftp", 1, 1, None),
    ]
    assert [document["run_id"] for document in reports.at_work(5)] == ["d"]


def test_failures_that_differ_in_numbers_and_ids_alone_are_one_kind(parts: Parts) -> None:
    errors = [
        "OSError: no space for 17.5 MB at 0x7f00\n  and a second line",
        "OSError: no space for 2 MB at 0xbeef",
        "OSError: run 8f3c2a17-5b0e-4c6d-9a41-2f7d0c9be613 is gone",
        "OSError: run 00000000-5b0e-4c6d-9a41-2f7d0c9be613 is gone",
        "OSError: run 1 is gone",
        "",
        None,
    ]
    runs = [
        stored_run(f"r{number}", status="FAILED", error=error, updated_at=1000.0 + number)
        for number, error in enumerate(errors)
    ]
    reports = _filled(parts, stored_run("old", status="FAILED", error="old", updated_at=900.0), *runs)
    groups = reports.failures(950.0, 9)
    assert [(group.run_count, group.last_at, group.newest["run_id"]) for group in groups] == [
        (3, 1004.0, "r4"),
        (2, 1006.0, "r6"),
        (2, 1001.0, "r1"),
    ]


def test_the_usual_duration_is_the_median_of_five_completed_runs_or_more(parts: Parts) -> None:
    def completed(flow: str, number: int, took_sec: float, **fields: object) -> dict[str, object]:
        ended_at = 10_000.0 + number
        times = {"start_time": ended_at - took_sec, "end_time": ended_at, "updated_at": ended_at}
        return stored_run(f"{flow}-{number}", flow_name=flow, **{"status": "COMPLETED", **times, **fields})

    reports = _filled(
        parts,
        *[completed("few", number, 10) for number in range(4)],
        *[completed("many", number, took) for number, took in enumerate([1, 2, 30, 400, 5000])],
        completed("many", 9, 9_000, status="FAILED"),
        completed("many", 8, 9_000, start_time=None),
    )
    assert reports.usual_durations(["few", "many", "none"], 9_000.0) == {"many": 30.0}
    assert reports.usual_durations(["many"], 10_001.0) == {}
