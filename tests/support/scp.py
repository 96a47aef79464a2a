"""``scp`` between the machines of :mod:`tests.support.machines`: ``scp FILE… MACHINE:FOLDER``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from tests.support.machines import FACTS


def main(words: list[str]) -> None:
    roots = json.loads(Path(os.environ[FACTS]).read_text())["roots"]
    *files, target = [word for word in words if not word.startswith("-")]
    address, _, folder = target.partition(":")
    place = Path(roots[address] + folder)
    for file in files:
        shutil.copy(file, place)


main(sys.argv[1:])
