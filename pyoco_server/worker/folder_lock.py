"""Locks on folders, which the kernel gives back however a process ends: who holds one uses the folder."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

#: For whoever uses a folder beside others; waits.
SHARED = fcntl.LOCK_SH
#: For whoever wants a folder that nobody uses; does not wait.
ALONE = fcntl.LOCK_EX | fcntl.LOCK_NB

#: Not there, not ours, or in use. Of anything else, as of descriptors that are used up, one must not conclude that.
_NOT_TO_BE_HAD = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
    errno.EAGAIN,
    errno.EWOULDBLOCK,
}


def locked(path: str | Path, how: int) -> int | None:
    """Lock a folder; ``None`` when it is not there, not ours, or in use.

    :param how: :data:`SHARED` or :data:`ALONE`.
    :return: a descriptor; the lock lasts until it is closed.
    :raises OSError: nobody can say: descriptors are used up, or the disk knows no locks, for instance.
    """
    lock = None
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(lock, how)
        return lock
    except OSError as exc:
        if lock is not None:
            os.close(lock)
        if exc.errno in _NOT_TO_BE_HAD:
            return None
        raise


def is_there(path: str | Path, lock: int) -> bool:
    """Say whether the folder that was locked still has this name."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(lock))
    except OSError:
        return False
