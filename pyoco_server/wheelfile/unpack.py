"""Unpacking a wheel that was checked, into a folder that is to stand in ``sys.path``.

Scripts, headers and data files are not installed, and nothing is executed: a worker imports from the folder, no more.

Source: design, section 10.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

from pyoco_server.wheelfile.archive import open_archive, read_chunks
from pyoco_server.wheelfile.check import Wheel

_IS_EXECUTABLE = 0o111


def unpack(stream: IO[bytes], wheel: Wheel, folder: Path, pulse: Callable[[], None]) -> dict[str, int]:
    """Write the files of a wheel below ``folder``, which is empty.

    :param pulse: called between pieces of work; what it raises leaves a folder that is not whole.
    :return: path below the folder -> bytes.
    :raises WheelInvalid: the archive is not the one that was checked.
    :raises OSError: the disk is full, for instance.
    """
    sizes: dict[str, int] = {}
    with open_archive(stream) as archive:
        for path, target in wheel.files.items():
            place = folder / target
            place.parent.mkdir(parents=True, exist_ok=True)
            # "x": a file system that takes two paths for one must not let one file replace another.
            with place.open("xb") as output:
                for chunk in read_chunks(archive, path):
                    output.write(chunk)
                    pulse()
                sizes[target] = output.tell()
            mode = archive.getinfo(path).external_attr >> 16
            place.chmod(0o755 if mode & _IS_EXECUTABLE else 0o644)
    return sizes
