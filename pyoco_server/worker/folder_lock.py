"""Locks on folders, which the kernel gives back however a process ends: who holds one uses the folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

#: For whoever uses a folder beside others; waits.
SHARED = fcntl.LOCK_SH
#: For whoever wants a folder that nobody uses; does not wait.
ALONE = fcntl.LOCK_EX | fcntl.LOCK_NB


def locked(path: str | Path, how: int) -> int | None:
    """Lock a folder; ``None`` when it is not there, not ours, or in use.

    :param how: :data:`SHARED` or :data:`ALONE`.
    :return: a descriptor; the lock lasts until it is closed.
    """
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, how)
    except OSError:
        os.close(lock)
        return None
    return lock
