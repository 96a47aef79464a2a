"""Each decision in docs/decisions.md says since when it holds, why, and what it was chosen over."""

from __future__ import annotations

import re
from datetime import date

import pytest

from tests.support.documents import DOCS

TEXT = (DOCS / "decisions.md").read_text()
DECISIONS = re.findall(r"^## (\d+)\. (.+)\n\n\*(.+)\*\n\n((?:(?!^## ).*\n)+)", TEXT, re.MULTILINE)


def test_decisions_are_numbered_one_after_the_other() -> None:
    assert [int(number) for number, *_ in DECISIONS] == list(range(1, TEXT.count("\n## ") + 1))


@pytest.mark.parametrize(("title", "status", "body"), [found[1:] for found in DECISIONS])
def test_a_decision_says_since_when_it_holds_why_and_over_what(title: str, status: str, body: str) -> None:
    told = re.fullmatch(r"Holds since \d+\.\d+\.\d+ \((\S+)\)(?:; .+)?\.|Replaced by decision \d+, .+\.", status)
    assert told is not None, title
    assert told[1] is None or date.fromisoformat(told[1])
    assert body.startswith("**Decided.** ")
    marks = [mark.rstrip(".,") for mark in re.findall(r"^\*\*(.+?)\*\*", body, re.MULTILINE)]
    assert marks[1] == "Why" and marks[-1] == "Instead of"
