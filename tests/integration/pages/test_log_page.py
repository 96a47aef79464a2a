"""What a run has printed, on its page and on a page of its own."""

from __future__ import annotations

import time

import pytest

from tests.support.gateway import LocalGateway
from tests.support.pages import LONG, ODD, SCRIPT, Page, visit
from tests.support.parts import Parts, stored_run
from tests.support.printed import append, entry

_NOW = time.time()


def store(parts: Parts, run_id: str, status: str = "COMPLETED", **fields: object) -> str:
    parts.put(run_id, stored_run(run_id, status=status, **fields))
    return run_id


def lines(page: Page) -> list[str]:
    return [item.words for item in page.all("li") if any(outer.has({"class_": "log"}) for outer in item.outer)]


def test_a_line_has_its_time_its_task_and_a_word_where_it_is_of_stderr(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    run_id = store(shared_parts, "lines", tasks={"a": "SUCCEEDED", "b": "SUCCEEDED"})
    append(
        shared_parts, run_id, entry(0, "begun"), entry(1, "two\nlines\n", "b", "stderr"), entry(2, "of C", task=None)
    )
    for path in ("/ui/runs/lines", "/ui/runs/lines/logs"):
        page = visit(shared, path)
        assert lines(page) == [
            "00:25:01.000abegun",
            "00:25:01.125berr two",
            "00:25:01.125berr lines",
            "00:25:01.250of C",
        ]
        assert page.all("time", datetime="2026-11-22T00:25:01.125Z")
        assert len(page.all("li", class_="is-stderr")) == 2
    page = visit(shared, "/ui/runs/lines/logs?task=b")
    assert len(lines(page)) == 2
    assert "/runs/lines/logs?format=text&task=b" in page.links()
    links = {link.words: link.attributes["href"] for link in page.all("a")}
    assert links["all tasks"] == "/ui/runs/lines/logs"
    assert links["a"] == "/ui/runs/lines/logs?task=a"
    assert links["100 lines"] == "/ui/runs/lines/logs?task=b&tail=100"
    assert [link.words for link in page.all("a", aria_current="true")] == ["Runs", "b", "300 lines"]
    assert shared.get("/runs/lines/logs?format=text&task=b").text.count("\n") == 2
    assert len(lines(visit(shared, "/ui/runs/lines?task=b"))) == 2
    assert lines(visit(shared, "/ui/runs/lines/logs", lang="ja")) == lines(visit(shared, "/ui/runs/lines/logs"))


def test_the_task_that_failed_leads_to_what_it_has_printed(shared: LocalGateway, shared_parts: Parts) -> None:
    record = {"state": "FAILED", "started_at": _NOW - 9, "ended_at": _NOW - 8, "error": "KeyError: 'x'"}
    run = store(
        shared_parts, "failed", "FAILED", error="KeyError: 'x'", tasks={"a/b": "FAILED"}, task_records={"a/b": record}
    )
    append(shared_parts, run, entry(0, "last words", "a/b"), entry(1, "of another"))
    page = visit(shared, "/ui/runs/failed")
    (link,) = [link for link in page.one("section", aria_labelledby="why").text.split("·") if "printed" in link]
    assert link.strip().startswith("What a/b printed")
    assert lines(visit(shared, "/ui/runs/failed/logs?task=a%2Fb")) == ["00:25:01.000a/blast words"]
    assert "/ui/runs/failed/logs?task=a%2Fb" in page.links()


def test_a_long_log_shows_its_end_and_says_that_there_is_more(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = store(shared_parts, "long")
    append(shared_parts, run_id, *(entry(seq, f"line {seq} {'&' * 20}") for seq in range(2_000)))
    page = visit(shared, "/ui/runs/long")
    assert len(lines(page)) < 101 and "line 1999" in lines(page)[-1]
    assert "Older lines" in page.words and "/runs/long/logs?format=text" in page.links()
    for tail in (100, 300, 1000):
        page = visit(shared, f"/ui/runs/long/logs?tail={tail}")
        assert "line 1999" in lines(page)[-1] and len(lines(page)) <= tail
        assert "Older lines" in page.words
        assert f"The last {len(lines(page))} lines" in page.words
    store(shared_parts, "wide")
    append(shared_parts, "wide", entry(0, "w" * 500_000), entry(1, "<" * 500_000))
    for path in ("/ui/runs/wide", "/ui/runs/wide/logs"):
        page = visit(shared, path)
        assert len(lines(page)) == 2 and lines(page)[-1].endswith("<…")
        assert "rest of long ones" in page.words
    append(shared_parts, store(shared_parts, "short"), entry(0))
    assert "Older lines" not in visit(shared, "/ui/runs/short/logs").words


@pytest.mark.parametrize("text", [SCRIPT, ODD, LONG, "\r\n\x0b\x0c\x85"])
def test_hostile_output_stays_a_text(shared: LocalGateway, shared_parts: Parts, text: str) -> None:
    tasks = {text: "SUCCEEDED"} if text.strip() else {}
    run_id = store(shared_parts, f"hostile{len(text)}", tasks=tasks)
    append(shared_parts, run_id, entry(0, text, task=text, stream=text), entry(1, text))
    for path in (f"/ui/runs/{run_id}", f"/ui/runs/{run_id}/logs"):
        page = visit(shared, path, max_bytes=250_000)
        assert lines(page) and not page.all("img")
        shown = "".join(item.text for item in page.all("span", class_="log-text"))
        assert not set("\x00\x1b\u202e\u2066\x0b\x0c\x85") & set(shown)
    asked = text.replace("\ud800", "")
    page = visit(shared, f"/ui/runs/{run_id}/logs", params={"task": asked}, max_bytes=250_000)
    assert len(lines(page)) == (0 if asked != text else asked.count("\n") + 1)
    assert not page.all("img")


@pytest.mark.parametrize(("tail", "status"), [("0", 422), ("1001", 422), ("x", 422), ("1", 200)])
def test_how_many_lines_is_a_number_up_to_a_thousand(
    shared: LocalGateway, shared_parts: Parts, tail: str, status: int
) -> None:
    visit(shared, f"/ui/runs/{store(shared_parts, 'asked')}/logs?tail={tail}", status=status)
    visit(shared, "/ui/runs/nobody/logs", status=404)


def test_the_page_of_a_run_that_goes_on_is_loaded_again(shared: LocalGateway, shared_parts: Parts) -> None:
    store(shared_parts, "goes-on", "RUNNING")
    store(shared_parts, "over")
    assert shared.get("/ui/runs/goes-on/logs").headers["Refresh"] == "5"
    assert "Refresh" not in shared.get("/ui/runs/goes-on/logs?refresh=off").headers
    assert "Refresh" not in shared.get("/ui/runs/over/logs").headers


def test_why_there_are_no_lines_is_told(local: LocalGateway, parts: Parts) -> None:
    store(parts, "silent", end_time=time.time())
    store(parts, "begun", "RUNNING")
    for run_id, words in (("silent", "It has printed nothing"), ("begun", "Nothing has been printed yet")):
        for path in (f"/ui/runs/{run_id}", f"/ui/runs/{run_id}/logs"):
            assert words in visit(local, path).words
    assert "Nothing of this task" in visit(local, "/ui/runs/silent/logs?task=a").words
    # What is in the stream now began after the end of a run of yesterday, and something has left it.
    append(parts, "begun", entry(0))
    parts.bus.api("STREAM.PURGE.PYOCO_LOGS")
    append(parts, "begun", entry(1))
    store(parts, "yesterday", end_time=time.time() - 86_400)
    store(parts, "just-now", end_time=time.time() + 60)
    assert "not kept any more" in visit(local, "/ui/runs/yesterday/logs").words
    assert "It has printed nothing" in visit(local, "/ui/runs/just-now/logs").words
    # With nothing left in it, its age decides.
    parts.bus.api("STREAM.PURGE.PYOCO_LOGS")
    store(parts, "last-year", end_time=time.time() - 365 * 86_400)
    assert "not kept any more" in visit(local, "/ui/runs/last-year/logs").words
    assert "It has printed nothing" in visit(local, "/ui/runs/yesterday/logs").words
    # The log alone is away: the rest of the run is shown all the same, with what was kept of a failed one.
    parts.bus.api("STREAM.DELETE.PYOCO_LOGS")
    assert "NATS does not give the log" in visit(local, "/ui/runs/silent").words
    store(parts, "failed", "FAILED", last_lines="one\n\x1b[1mtwo\n")
    page = visit(local, "/ui/runs/failed")
    assert lines(page) == ["one", "\\x1b[1mtwo"]
    assert "NATS does not give the log" in page.words and "kept with the run" in page.words
