"""docs/operations.md: every block says where it is typed, and is part of a rehearsal; what it points to is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import documents
from tests.support.documents import DOCS, section, without_code
from tests.support.handbook import blocks

TEXT = (DOCS / "operations.md").read_text()
REHEARSALS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_rehearsal_*.py"))
INSTALLATION = (Path(__file__).parents[1] / "support" / "rehearsal.py").read_text()


def headings() -> list[str]:
    """Give the headings of the second level, which are those that rehearsals play."""
    return re.findall(r"^## .*$", without_code(TEXT), re.MULTILINE)


def test_every_block_of_commands_says_on_which_machine_it_is_typed() -> None:
    assert len(blocks(TEXT)) == len(documents.blocks(TEXT, "sh")) > 20
    places = {machine for block in blocks(TEXT) for machine in block.machines}
    assert places == {"n1", "n2", "n3"}


def test_every_section_with_commands_is_carried_out_by_a_rehearsal() -> None:
    found = [heading for heading in headings() if blocks(section(TEXT, heading))]
    assert len(found) > 8
    assert [heading for heading in found if f'"{heading}"' not in REHEARSALS + INSTALLATION] == []


def test_every_finding_that_the_table_names_is_one_of_doctor() -> None:
    operations = Path(__file__).parents[2] / "pyoco_server" / "operations"
    known = "".join(path.read_text() for path in operations.glob("*.py"))
    named = [
        word for row in re.findall(r"^\| `doctor`: ([^|]*)\|", TEXT, re.MULTILINE) for word in row.split("`")[1::2]
    ]
    assert len(named) > 7
    assert [word for word in named if f'"{word.split()[0]}"' not in known] == []
