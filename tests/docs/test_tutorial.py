"""The tutorial is carried out as it stands there, and says the same in both languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documents import code_blocks
from tests.support.tools import need
from tests.support.tutorial import TEXTS, follow


@pytest.mark.long
def test_a_newcomer_gets_from_the_first_block_to_the_last(tmp_path: Path) -> None:
    for tool in ("curl", "jq", "patch"):
        need(tool, tool)
    assert follow(tmp_path) == []
    assert not (tmp_path / "site").exists()


def test_both_languages_show_the_same() -> None:
    english, japanese = ([block.without_comments for block in code_blocks(TEXTS[lang].read_text())] for lang in TEXTS)
    assert english == japanese
    headings, pictures = (
        [re.findall(pattern, TEXTS[lang].read_text(), re.MULTILINE) for lang in TEXTS]
        for pattern in (r"^(#+) ", r"\]\(images/(\w+)-(?:en|ja)\.png\)")
    )
    assert headings[0] == headings[1]
    assert pictures[0] == pictures[1] != []
