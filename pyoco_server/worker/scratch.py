"""Where runs work: a folder for each, in a folder of this worker, which is removed even if the worker is killed.

A lock on the worker's folder says that it lives. (Its process id would not: two containers that share ``/tmp`` do
not share process ids.)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

from pyoco_server.contract.runner_protocol import ARTIFACTS_FOLDER
from pyoco_server.worker.folder_lock import ALONE, locked

_PREFIX = "pyoco-worker-"


class Scratch:
    """The folder of one worker process.

    Making it removes what killed workers of this machine have left.

    :raises OSError: it cannot be made.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            _remove_if_abandoned(path)
        self._make_root()

    def new_folder(self) -> str:
        """Make an empty folder for a run.

        :raises OSError: the disk is full, for instance.
        """
        with self._guard:
            if not os.path.isdir(self._root):
                # A cleaner of /tmp removes what nobody has touched for days.
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
            shutil.rmtree(folder, ignore_errors=True)

    def remove(self) -> None:
        """Remove everything; works twice."""
        shutil.rmtree(self._root, ignore_errors=True)
        self._unlock()

    def _make_root(self) -> None:
        while True:
            self._root = tempfile.mkdtemp(prefix=_PREFIX)
            self._lock = locked(self._root, ALONE)
            if self._lock is not None and os.path.isdir(self._root):
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
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
