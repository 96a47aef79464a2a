"""The folder in which wheels lie unpacked, each under the hash of its bytes. Workers of one machine may share it.

A wheel appears there by one rename, so it is whole or not there. Whoever uses one holds a shared lock on its folder,
which the kernel gives back however the process ends; what nobody holds may be removed by anybody. A state that a killed
worker has left needs no repair: half a wheel is a folder of another name, which the next worker removes.

Source: design, section 10.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pyoco_server.worker.folder_lock import ALONE, SHARED, is_there, locked
from pyoco_server.worker.removal import remove_tree

_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(rf"{_HASH.pattern}|\.(new|old)-.*")
#: Says what the folder holds; written last.
_MANIFEST = ".pyoco-wheel"


@dataclass(frozen=True)
class Manifest:
    """What is known of a wheel that was unpacked.

    :param wheel_name: the name under which it was checked.
    :param installed_at: unix seconds.
    :param sizes: path -> bytes of every file.
    """

    wheel_name: str
    requires_python: str
    requires: list[str]
    installed_at: float
    sizes: dict[str, int]


class Unpacked:
    """An unpacked wheel; nobody removes it for as long as this object lives."""

    def __init__(self, path: Path, manifest: Manifest, lock: int) -> None:
        self.path = path
        self.manifest = manifest
        weakref.finalize(self, os.close, lock)

    @property
    def sha256(self) -> str:
        return self.path.name


class WheelFolder:
    """Unpacked wheels on this machine."""

    def __init__(self, root: Path) -> None:
        # Runners have working directories of their own.
        self._root = root.absolute()

    def find(self, sha256: str) -> Unpacked | None:
        """Give a wheel that is there as a whole; ``None`` when it is not.

        :raises OSError: nobody can say; see :func:`locked`.
        :raises ValueError: this is no hash of a wheel.
        """
        path = self._place(sha256)
        lock = locked(path, SHARED)
        if lock is None:
            return None
        manifest = _read_manifest(path)
        if manifest is None or not is_there(path, lock):
            # Left by a machine that lost its power, or removed a moment ago.
            os.close(lock)
            return None
        return Unpacked(path, manifest, lock)

    def add(self, sha256: str, fill: Callable[[Path], Manifest]) -> Unpacked:
        """Unpack a wheel.

        :param fill: writes the wheel's files into an empty folder; what it raises leaves nothing behind.
        :raises OSError: the disk is full, for instance, or the wheel brings a file that has the manifest's name.
        :raises ValueError: this is no hash of a wheel.
        """
        # There may be one that is not whole.
        self._remove(self._place(sha256))
        folder, lock = self._new_folder()
        try:
            manifest = fill(folder)
            # "x": a wheel that brings a file of this name must not have it replaced.
            with (folder / _MANIFEST).open("x") as file:
                json.dump(asdict(manifest), file)
            return self._name(folder, lock, manifest, sha256)
        except BaseException:
            os.close(lock)
            raise
        finally:
            remove_tree(folder)

    def _name(self, folder: Path, lock: int, manifest: Manifest, sha256: str) -> Unpacked:
        path = self._place(sha256)
        while True:
            try:
                folder.rename(path)
                return Unpacked(path, manifest, lock)
            except OSError as exc:
                if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                # Another worker was faster, and may remove its folder again before it is locked here.
                found = self.find(sha256)
                if found is not None:
                    os.close(lock)
                    return found
                if path.exists():
                    raise

    def tidy(self) -> None:
        """Remove what nobody uses: wheels of this and other workers, and what killed ones have left."""
        with contextlib.suppress(FileNotFoundError):
            for path in list(self._root.iterdir()):
                if _NAME.fullmatch(path.name):
                    # What nobody can look into now must not stand in the way of the rest.
                    with contextlib.suppress(OSError):
                        self._remove(path)

    def _place(self, sha256: str) -> Path:
        # Of an empty text it would be the whole folder, of others one that nobody would remove.
        if not _HASH.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is not a SHA-256")
        return self._root / sha256

    def _remove(self, path: Path) -> None:
        lock = locked(path, ALONE)
        if lock is None:
            return
        try:
            if is_there(path, lock):
                # First the name: a wheel that is half removed must not look like one.
                gone = path.with_name(f".old-{path.name.removeprefix('.old-')}")
                with contextlib.suppress(OSError):
                    path.rename(gone)
                remove_tree(gone)
        finally:
            os.close(lock)

    def _new_folder(self) -> tuple[Path, int]:
        self._root.mkdir(parents=True, exist_ok=True)
        while True:
            folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
            try:
                lock = locked(folder, SHARED)
            except OSError:
                # This needs no descriptor, of which there may be none left. Another worker may be faster.
                with contextlib.suppress(FileNotFoundError):
                    folder.rmdir()
                raise
            if lock is not None and is_there(folder, lock):
                folder.chmod(0o755)
                return folder, lock
            # Another worker took it for one that was left behind.
            if lock is not None:
                os.close(lock)


def _read_manifest(path: Path) -> Manifest | None:
    """Read what a folder holds; ``None`` when a file of it is missing or of another size."""
    try:
        manifest = Manifest(**json.loads((path / _MANIFEST).read_text()))
        if all((path / name).stat().st_size == size for name, size in manifest.sizes.items()):
            return manifest
    except (OSError, ValueError, TypeError):
        pass
    return None
