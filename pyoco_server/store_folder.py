"""The folder in which a NATS server keeps its data: who may use it, and how files come to be in it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from pyoco_server.errors import InvalidCommand
from pyoco_server.ports import answers_at
from pyoco_server.service import Deadline

#: How long a nats-server whose ``up`` was killed may take to end.
_LOCK_SEC = 15.0


class StoreLock:
    """Keeps a second server off a store: two would ruin each other's files.

    The kernel holds the lock for every process that has the file open, the nats-server itself too, so it is never
    stale, and it outlives an ``up`` that was killed until its nats-server has ended. The file says where that
    server answers.
    """

    def __init__(self, store: Path) -> None:
        self._path = store / "lock"
        self._fd = -1

    @property
    def fd(self) -> int:
        return self._fd

    def take(self, remedy: str) -> None:
        """Take the lock; one whose server no longer answers is about to be free.

        :param remedy: what to do where it is taken: a sentence, in which ``{url}`` stands for where its server answers.
        :raises InvalidCommand: the store is in use, or the file system knows no locks.
        """
        deadline = Deadline(_LOCK_SEC)
        while not self._try():
            url = self._path.read_text()
            if answers_at(url) or deadline.has_passed:
                at = f" at {url}" if url else ""
                said = f"The store {self._path.parent} is in use by a NATS server{at} already."
                raise InvalidCommand(f"{said} {remedy.format(url=url or 'URL')}")
            time.sleep(0.05)
        self.note("")

    def note(self, url: str) -> None:
        """Say for others where the server of this store answers."""
        self._path.write_text(url)

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def is_free(self) -> bool:
        """Say whether no server uses the store."""
        if not self._path.is_file():
            return True
        if not self._try():
            return False
        self.release()
        return True

    def holder(self) -> str | None:
        """Give the address of a server that uses the store and answers; ``None`` where there is none."""
        if self.is_free():
            return None
        url = self._path.read_text()
        return url if answers_at(url) else None

    def _try(self) -> bool:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(fd)
            if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise InvalidCommand(
                    f"{self._path} cannot be locked: {exc.strerror}. Its file system must know locks."
                ) from exc
            return False
        self._fd = fd
        return True


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and make sure that files can be made there.

    :raises InvalidCommand: says why not.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as exc:
        raise InvalidCommand(
            f"The folder {path} cannot be written: {exc.strerror}. Start in a folder where you may write, or give "
            "--nats-url to use a NATS that runs elsewhere."
        ) from exc


def write_whole(path: Path, text: str) -> None:
    """Put a file in its place that this user alone may read, with all of the text or not at all.

    :raises OSError: it cannot be written; what was there is as it was.
    """
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
