"""Every link in the documents leads to a file of the repository, and to a heading in it; and the index leads to all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documents import DOCS, without_code

ROOT = DOCS.parent
FOLDERS = (DOCS, *(ROOT / name for name in ("bench", "deploy", "examples", "tutorial")))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *(path for folder in FOLDERS for path in sorted(folder.rglob("*.md")))]
INDEX = DOCS / "README.md"


def anchors(document: Path) -> set[str]:
    """Give the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(document: Path) -> list[str]:
    """Give what a document links, but for other sites."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text()))
    return [target for target in found if not target.startswith("https://")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in links(document):
        file, _, anchor = target.partition("#")
        there = document.parent / file if file else document
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_the_index_leads_to_every_document() -> None:
    told = {(INDEX.parent / target.partition("#")[0]).resolve() for target in links(INDEX)}
    assert set(DOCS.rglob("*.md")) - told == {INDEX}
