"""The examples are carried out as their page shows them, and there is none that it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Daemons
from tests.support.documents import DOCS, code_blocks
from tests.support.reader import Reader, steps
from tests.support.tools import need

EXAMPLES = DOCS.parent / "examples"
TEXT = (EXAMPLES / "README.md").read_text()


@pytest.mark.long
def test_each_example_shows_what_its_page_says(tmp_path: Path) -> None:
    need("jq", "jq")
    daemons = Daemons(tmp_path / "site")
    reader = Reader(tmp_path, DOCS.parent, daemons.start)
    try:
        for step in steps(code_blocks(TEXT)):
            reader.carry_out(step)
        reader.press_ctrl_c()
        assert daemons.family.members() == []
    finally:
        reader.close()
        daemons.close()


def test_each_flow_is_on_the_page() -> None:
    flows = sorted(path.name for path in EXAMPLES.glob("*.yaml"))
    assert flows != []
    assert [name for name in flows if f"]({name})" not in TEXT or f"--workflow-file {name} " not in TEXT] == []
