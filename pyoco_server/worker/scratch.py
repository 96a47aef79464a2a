"""Where runs work: a folder for each, in a folder of this worker, which is removed even if the worker is killed.

A lock on the worker's folder says that it lives. (Its process id would not: two containers that share ``/tmp`` do
not share process ids.)
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from pathlib import Path

from pyoco_server.contract.runner_protocol import ARTIFACTS_FOLDER
from pyoco_server.worker.folder_lock import ALONE, is_there, locked
from pyoco_server.worker.removal import remove_tree

_PREFIX = "pyoco-worker-"


class Scratch:
    """The folder of one worker process.

    Making it removes what killed workers of this machine have left.

    :raises OSError: it cannot be made.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            # What nobody can look into now, the next start removes.
            with contextlib.suppress(OSError):
                _remove_if_abandoned(path)
        self._make_root()

    def new_folder(self) -> str:
        """Make an empty folder for a run.

        :raises OSError: the disk is full, for instance.
        """
        with self._guard:
            if self._lock is None or not is_there(self._root, self._lock):
                # A cleaner of /tmp removes what nobody has touched for days; a runner may have made it anew since.
                self._unlock()
                self._make_root()
            return tempfile.mkdtemp(prefix="run-", dir=self._root)

    def remove_folder(self, folder: str) -> None:
        """Remove the folder of a run; most runs leave nothing in it."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(os.path.join(folder, ARTIFACTS_FOLDER))
            os.rmdir(folder)
        except OSError:
            remove_tree(folder)

    def remove(self) -> None:
        """Remove everything; works twice."""
        remove_tree(self._root)
        self._unlock()

    def _make_root(self) -> None:
        while True:
            self._root = tempfile.mkdtemp(prefix=_PREFIX)
            try:
                self._lock = locked(self._root, ALONE)
            except OSError:
                # This needs no descriptor, of which there may be none left.
                os.rmdir(self._root)
                raise
            if self._lock is not None and is_there(self._root, self._lock):
                return
            # Another worker that has just started took it for an abandoned one.
            self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _remove_if_abandoned(path: Path) -> None:
    lock = locked(path, ALONE)
    if lock is not None:
        remove_tree(path)
        os.close(lock)
