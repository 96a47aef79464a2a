"""docs/quickstart.md, carried out from its first command to its last; only ports and ids are put in."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.support.commands import Daemon
from tests.support.documents import DOCS, blocks, code_blocks
from tests.support.reader import Reader, steps

TEXT = (DOCS / "quickstart.md").read_text()
_RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_the_quickstart_holds_from_its_first_command_to_its_last(tmp_path: Path, start: Callable[..., Daemon]) -> None:
    install, path, *rest = steps([block for block in code_blocks(TEXT) if block.language in ("sh", "text")])
    assert "pip install ." in install.commands and path.commands.startswith("export PATH=")
    for name, language in (("tasks.py", "python"), ("flow.yaml", "yaml")):
        (text,) = blocks(TEXT, language)
        (tmp_path / name).write_text(text)
    reader = Reader(tmp_path, tmp_path, start)
    try:
        for step in rest:
            reader.carry_out(step)
            if found := _RUN_ID.search(reader.shown):
                reader.words["RUN_ID"] = found[0]
        assert len(rest) == 10
        reader.press_ctrl_c()
    finally:
        reader.close()
