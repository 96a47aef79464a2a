"""A folder into which files are downloaded whose names somebody else has given.

Nothing is written outside of it, through a link, or over another file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Collection, Iterator
from typing import IO

_READ_BYTES = 1024 * 1024
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY


class DownloadRefused(Exception):
    """A file cannot be written under this name; the text says why."""


def clash(names: Collection[str]) -> tuple[str, str] | None:
    """Find two names of which the first would have to be a file and the folder of the second, too."""
    for name in names:
        parts = name.split("/")
        for count in range(1, len(parts)):
            if (folder := "/".join(parts[:count])) in names:
                return folder, name
    return None


class DownloadFolder:
    """Writes files below a folder, which is made where it is missing.

    :raises OSError: it cannot be made or opened.
    """

    def __init__(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)
        self._root = os.open(path, _OPEN_FOLDER)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._root)

    def has(self, name: str, sha256: str) -> bool:
        """Say whether the file is there already.

        :raises DownloadRefused: another one is, or what is no file.
        :raises OSError: it cannot be read.
        """
        with contextlib.suppress(FileNotFoundError), self._parent(name, make=False) as (folder, leaf):
            file = os.open(leaf, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.close(file)
                raise DownloadRefused("it is there already, and is no file")
            with open(file, "rb") as stream:
                digest = hashlib.sha256()
                while piece := stream.read(_READ_BYTES):
                    digest.update(piece)
            if digest.hexdigest() != sha256:
                raise DownloadRefused("another file is there already")
            return True
        return False

    def write(self, name: str, fill: Callable[[IO[bytes]], object]) -> None:
        """Make a file; it is there as a whole or not at all.

        :param fill: writes its bytes.
        :raises DownloadRefused: its name leaves the folder, or a file is there already.
        :raises OSError: it cannot be written.
        """
        with self._parent(name, make=True) as (folder, leaf):
            draft = f".{uuid.uuid4().hex}.part"
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=folder)
            try:
                with open(file, "wb") as stream:
                    fill(stream)
                # Unlike a rename it takes the place of nothing.
                os.link(draft, leaf, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError as exc:
                raise DownloadRefused("another file is there already") from exc
            finally:
                os.unlink(draft, dir_fd=folder)

    @contextlib.contextmanager
    def _parent(self, name: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """Open the folder of a file, part by part, following no link."""
        *parts, leaf = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in (*parts, leaf)):
            raise DownloadRefused("its name leaves the folder")
        folder = os.dup(self._root)
        try:
            for part in parts:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                inner = os.open(part, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder, leaf
        finally:
            os.close(folder)
