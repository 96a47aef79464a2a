"""The folder in which a run saves its files, read without leaving it, whatever a task has put there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator

from pyoco_server.contract.artifacts import name_fault

#: What is looked at in one folder; far more than is kept of a run.
_MAX_ENTRIES = 10_000
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
#: A pipe must not make its reader wait, nor a terminal become this process's own.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class NotReadable(Exception):
    """There is nothing at this name that can be kept; the text says why."""


class ArtifactFolder:
    """Reads a folder part by part of each path, so that no link leads out of it.

    :param path: of the folder, which need not exist.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def names(self, pass_over: Callable[[str, str], None]) -> Iterator[str]:
        """Give the names of all that is not a folder, in order, as far as they can be names of artifacts.

        :param pass_over: told of each folder that cannot be listed, and why; the name of this one is empty.
        """
        pending = [""]
        while pending:
            place, files = pending.pop(), []
            try:
                entries = self._entries(place)
            except FileNotFoundError:
                # The run has saved nothing, or has removed it.
                continue
            except OSError as exc:
                pass_over(place, _in_words(exc))
                continue
            for name, is_folder in entries:
                path = f"{place}/{name}" if place else name
                # No file that lies deeper can have a name either.
                if is_folder and name_fault(path) is None:
                    pending.append(path)
                elif not is_folder:
                    files.append(path)
            yield from reversed(files)

    def _entries(self, place: str) -> list[tuple[str, bool]]:
        with self._folder(place.split("/") if place else []) as folder:
            return sorted(_entries(folder), reverse=True)

    def open(self, name: str) -> int:
        """Open a file for reading; the caller closes the descriptor.

        :param name: one without a fault.
        :raises NotReadable: it is not there, or no regular file.
        """
        *parts, leaf = name.split("/")
        try:
            with self._folder(parts) as folder:
                _require_file(os.stat(leaf, dir_fd=folder, follow_symlinks=False))
                file = os.open(leaf, _OPEN_FILE, dir_fd=folder)
        except OSError as exc:
            raise NotReadable(_in_words(exc)) from exc
        try:
            # Somebody may have put another thing in its place.
            _require_file(os.fstat(file))
        except NotReadable:
            os.close(file)
            raise
        return file

    @contextlib.contextmanager
    def _folder(self, parts: list[str]) -> Iterator[int]:
        folder = os.open(self._path, _OPEN_FOLDER)
        try:
            for part in parts:
                inner = os.open(part, _OPEN_FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)


def _entries(folder: int) -> Iterator[tuple[str, bool]]:
    """Give the entries of a folder, and which of them are folders; no more than can matter."""
    with os.scandir(folder) as found:
        for entry, _ in zip(found, range(_MAX_ENTRIES), strict=False):
            yield entry.name, entry.is_dir(follow_symlinks=False)


def _require_file(found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise NotReadable("it is a link")
    if not stat.S_ISREG(found.st_mode):
        raise NotReadable("it is not a file")


def _in_words(exc: OSError) -> str:
    if exc.errno in (errno.ELOOP, errno.ENOTDIR):
        return "a part of its path is a link, or no folder"
    return f"it cannot be read: {exc.strerror or exc}"
