"""The removal of folders in which tasks have made what they liked."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

#: For what Python leaves. "X": files need not be made programs, for they may be linked from elsewhere, too.
_REMOVERS = (("rm", "-rf"), ("chmod", "-R", "u+rwX"), ("rm", "-rf"))


def remove_tree(path: str | Path) -> None:
    """Remove a folder as far as that is possible, whatever a task has made in it; nothing is raised."""
    # Up to Python 3.12 it recurses.
    with contextlib.suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    for command in _REMOVERS:
        # What a link leads to is not ours.
        if os.path.islink(path) or not os.path.lexists(path):
            return
        # These know trees of any depth, and folders that may not be written to.
        with contextlib.suppress(OSError):
            subprocess.run(
                [*command, "--", path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
