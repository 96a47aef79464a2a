"""``GET /runs/{run_id}/logs`` in its forms, and what is read of a long log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.stores.logs import LogStore
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.parts import Parts
from tests.support.printed import append, ended, entry, running

HOSTILE = "a\x1b]0;owned\x07\x1b[2Jb\tc\x9bd\u202ee\u2028f\u3000\u00e9\U0001f600\x7f"


def text(local: LocalGateway, run_id: str, query: str = "format=text", accept: str | None = None) -> list[str]:
    answer = local.get(f"/runs/{run_id}/logs?{query}", headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    return answer.content.decode().split("\n")


def test_a_line_of_text_says_when_where_and_what(shared: LocalGateway, shared_parts: Parts) -> None:
    run_id = ended(
        shared,
        shared_parts,
        entry(0, "begun"),
        entry(1, "from C\n", task=None, stream="stderr"),
        # A worker of pyoco's brings what one call has printed.
        entry(2, "one\r\n\ntwo\n", "b"),
        {"seq": 3, "text": "bare"},
    )
    assert text(shared, run_id) == [
        "2026-11-22T00:25:01.000Z a stdout | begun",
        "2026-11-22T00:25:01.125Z - stderr | from C",
        "2026-11-22T00:25:01.250Z b stdout | one",
        "2026-11-22T00:25:01.250Z b stdout | ",
        "2026-11-22T00:25:01.250Z b stdout | two",
        "- - - | bare",
        "",
    ]
    assert text(shared, run_id, "format=text&task=b&tail=1")[0].endswith("| one")
    assert text(shared, run_id, "format=text&task=a") == ["2026-11-22T00:25:01.000Z a stdout | begun", ""]
    assert text(shared, run_id, "format=text&task=nobody") == [""]


@pytest.mark.parametrize(
    ("accept", "query", "is_text"),
    [
        (None, "", False),
        ("*/*", "", False),
        ("application/json", "", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", False),
        ("text/plain", "", True),
        ("text/plain;q=0.9, application/json;q=0.5", "", True),
        ("text/plain", "format=json", False),
        ("application/json", "format=text", True),
        ("text/plain", "format=", True),
    ],
)
def test_text_is_what_is_asked_for_by_accept_or_by_the_address(
    shared: LocalGateway, accept: str | None, query: str, is_text: bool
) -> None:
    answer = shared.get(f"/runs/{shared.submit()}/logs?{query}", headers={"Accept": accept} if accept else {})
    assert answer.headers["Content-Type"] == ("text/plain; charset=utf-8" if is_text else "application/json")
    assert "Accept" in answer.headers["Vary"]


def test_what_would_drive_a_terminal_is_harmless_in_text_and_as_printed_in_json(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    run_id = ended(shared, shared_parts, entry(0, HOSTILE, "t\x1b[1m"), entry(1, "half \ud83d"))
    lines = text(shared, run_id)
    assert lines[0].endswith(
        r"t\x1b[1m stdout | a\x1b]0;owned\x07\x1b[2Jb" "\t" r"c\x9bd\u202ee\u2028f" "\u3000é\U0001f600" r"\x7f"
    )
    assert lines[1].endswith(r"| half \ud83d")
    assert [item["text"] for item in shared.get(f"/runs/{run_id}/logs").json()["logs"]] == [HOSTILE, "half \ud83d"]


@pytest.mark.parametrize(
    ("query", "place"),
    [("format=xml", "format"), ("follow=maybe", "follow"), ("timeout_sec=0", "timeout_sec"), ("tail=0", "tail")],
)
def test_a_value_that_there_is_not_is_refused(shared: LocalGateway, query: str, place: str) -> None:
    assert fault_places(shared.get(f"/runs/{shared.submit()}/logs?{query}"), "ERR-PYOCO-0002") == [f"query.{place}"]


def test_a_run_that_there_is_not_is_not_found_in_any_form(shared: LocalGateway) -> None:
    for query in ("", "?format=text", "?follow=true", "?follow=true&format=text"):
        assert problem(shared.get(f"/runs/nobody/logs{query}"), 404)["err_id"] == "ERR-PYOCO-0005"


def store_long(parts: Parts, run_id: str, count: int, line: str) -> None:
    """Store a message for each line, as a run does that prints slowly for long; others print meanwhile."""
    logs: list[list[Write]] = []
    for seq in range(count):
        document: dict[str, Any] = {"attempt": 1, "entries": [entry(seq, line, "ab"[seq % 2])]}
        logs.append([Write(f"pyoco.logs.{run_id}", json.dumps(document).encode())])
        if seq % 10 == 0:
            logs.append([Write("pyoco.logs.other", logs[-1][0].payload)])
    for start in range(0, len(logs), 500):
        parts.bus.write_each(logs[start : start + 500])


@pytest.mark.parametrize("is_direct", [True, False], ids=["direct get", "leader alone"])
def test_a_long_log_is_read_whole_its_newest_bytes_and_its_last_lines(
    shared: LocalGateway, shared_parts: Parts, is_direct: bool
) -> None:
    shared_parts.configure("PYOCO_LOGS", allow_direct=is_direct)
    run_id = running(shared, shared_parts)
    store_long(shared_parts, run_id, 1_000, "." * 12_000)
    shared_parts.end(run_id)
    assert len(text(shared, run_id)) == 1_001
    logs = LogStore(shared_parts.bus)
    newest = logs.read(run_id)
    seqs = [each.fields["seq"] for each in newest.entries]
    assert newest.is_cut and seqs == list(range(seqs[0], 1_000)) and 500 < len(seqs) < 900
    for task, first in (("", 900), ("b", 801)):
        tail = logs.read(run_id, task=task, count=100)
        assert [each.fields["seq"] for each in tail.entries] == list(range(first, 1_000, 2 if task else 1))
        assert not tail.is_cut
    assert logs.read(run_id, count=900).is_cut
    assert logs.read("other", count=5).entries[-1].fields["seq"] == 990


def test_what_is_stored_after_the_leader_was_asked_is_not_missed_by_the_next_look(
    shared: LocalGateway, shared_parts: Parts
) -> None:
    run_id = running(shared, shared_parts)
    reader = LogStore(shared_parts.bus).reader(run_id)
    assert [*reader.more()] == [[]]
    append(shared_parts, run_id, entry(0), entry(1))
    assert [[each.fields["seq"] for each in some] for some in reader.more()] == [[0, 1]]
    # In three pieces, the last of which might still be to come.
    append(shared_parts, run_id, entry(2, "x" * 150_000))
    assert [*reader.more()] == [[]]
    (found,) = reader.more()
    assert [len(each.fields["text"]) for each in found] == [150_000]
    assert reader.rest() == []
