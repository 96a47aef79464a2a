"""The list of what a backup holds; without it a folder is none.

It is written last, so a backup that was interrupted has none, and it has the sum of each file.

Source: design, section 9.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyoco_server.errors import InvalidCommand

#: Of the manifest: a later program that changes its meaning counts on.
FORMAT = 1
_NAME = "manifest.json"
_BLOCK_BYTES = 131_072


@dataclass(frozen=True)
class SavedStream:
    """One stream of a backup.

    :param size_bytes: size of its archive.
    :param sha256: of its archive.
    :param settings: of the stream, in the server's words.
    :param state: of the stream when its archive was begun, in the server's words.
    """

    name: str
    size_bytes: int
    sha256: str
    settings: dict[str, Any]
    state: dict[str, Any]

    @property
    def message_count(self) -> int:
        return int(self.state["messages"])


def archive_path(folder: Path, stream: str) -> Path:
    """Say where the archive of a stream lies: in the form that the server makes, tar compressed by S2."""
    return folder / f"{stream}.tar.s2"


def is_backup(folder: Path) -> bool:
    """Say whether a folder holds a backup that was finished."""
    return (folder / _NAME).exists()


def write_manifest(folder: Path, streams: Sequence[SavedStream], *, created_at: float, server_version: str) -> None:
    """Finish a backup; all its files are on the disk before.

    :param created_at: when it was begun, unix seconds.
    """
    document = {
        "format": FORMAT,
        "created_at": created_at,
        "server_version": server_version,
        "streams": [asdict(stream) for stream in streams],
    }
    path = folder / f"{_NAME}.new"
    with path.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    path.replace(folder / _NAME)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_manifest(folder: Path) -> list[SavedStream]:
    """Read what a backup holds.

    :raises InvalidCommand: the folder is no backup, or one that was not finished.
    """
    try:
        document = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise InvalidCommand(
                f"{folder} is a backup of another form ({document['format']}): use a newer pyoco-nats."
            )
        return [SavedStream(**entry) for entry in document["streams"]]
    except FileNotFoundError:
        raise InvalidCommand(f"{folder} holds no backup, or one that was interrupted: there is no {_NAME}.") from None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InvalidCommand(f"{folder / _NAME} cannot be read: {exc}") from exc


def check_archive(folder: Path, stream: SavedStream) -> None:
    """Make sure that an archive is what was saved.

    :raises InvalidCommand: it is missing or has changed.
    """
    path = archive_path(folder, stream.name)
    digest = hashlib.sha256()
    try:
        for block in blocks(path):
            digest.update(block)
    except OSError as exc:
        raise InvalidCommand(f"{path} cannot be read: {exc.strerror}.") from exc
    if digest.hexdigest() != stream.sha256:
        raise InvalidCommand(f"{path} is not what was saved: its sum is another one. Use another backup.")


def blocks(path: Path) -> Iterator[bytes]:
    """Read a file piece by piece."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
