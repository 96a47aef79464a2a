"""Which files of code a runner has imported, so that no run is given to one that holds the code of before an edit.

Python imports a module once: such a run would execute the old code, and its traceback would show the new.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from pyoco_server.contract.runner_protocol import changed_at_ns

#: Folders of installed packages and of Python's own modules: thousands of files that nobody edits.
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_OWN = os.path.dirname(os.__file__) + os.sep
#: In place of the time of a file that was changed while it was imported: nobody knows which of the two it was.
_UNKNOWN_NS = 0


class Sources:
    """Tells of modules as they are imported, from when it is made.

    :param unchanging: folders whose files stay as they are; nothing is told of those.
    """

    def __init__(self, unchanging: Sequence[str] = ()) -> None:
        self._unchanging = (_OWN, *(os.path.join(folder, "") for folder in unchanging))
        self._seen = set(sys.modules)
        self._since_ns = time.time_ns()

    def run_begins(self) -> None:
        """Note that what is imported from now on is as it is now, or as it becomes later."""
        self._since_ns = time.time_ns()

    def imported(self) -> dict[str, int]:
        """Give the files of the modules that are new since the last call, each with the time of its last change."""
        new = sys.modules.keys() - self._seen
        if not new:
            return {}
        self._seen |= new
        now_ns = time.time_ns()
        # Not by getattr(): a module may have one of its own, which does as it likes.
        files = [getattr(sys.modules.get(name), "__dict__", {}).get("__file__") for name in new]
        found = {file: changed_at_ns(file) for file in files if isinstance(file, str) and self._may_change(file)}
        return {
            file: _UNKNOWN_NS if self._since_ns < at_ns <= now_ns else at_ns
            for file, at_ns in found.items()
            if at_ns is not None
        }

    def _may_change(self, file: str) -> bool:
        is_installed = file.startswith(self._unchanging) or any(part in file for part in _INSTALLED)
        return os.path.isabs(file) and not is_installed
