"""The archive of a wheel: what it may hold, judged before one byte of it is written anywhere.

Every read is bounded: neither the number of members nor what they unpack to is taken on trust.

Source: design, section 10; PKWARE APPNOTE, section 4.3 (layout of a zip file).
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NoReturn

from pyoco_server.errors import Fault, WheelInvalid

MAX_FILES = 20_000
#: Unpacked, all files together and one alone.
MAX_TOTAL_BYTES = 4 * 1024**3
MAX_FILE_BYTES = 2 * 1024**3
#: Text shrinks to a tenth, tables of zeros to a hundredth; what unpacks to more is made to fill disks.
MAX_RATIO = 200
_RATIO_FREE_BYTES = 65_536
#: The list of members, which zipfile reads as a whole.
_MAX_DIRECTORY_BYTES = 16 * 1024**2
_MAX_PATH_CHARS = 1_000
#: What file systems take for one name.
_MAX_PART_BYTES = 255
_CHUNK_BYTES = 1024 * 1024
#: The record at the end of an archive, and the one that stands before it in archives of more than 4 GiB.
_END, _END_64 = b"PK\x05\x06", b"PK\x06\x07"
_END_BYTES, _END_64_BYTES = 22, 20
_MAX_COMMENT_BYTES = 65_535
_IS_ENCRYPTED = 0x1
#: What tools make wheels with. The others are unpacked by Python in pieces of any size, so they could fill the memory.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def refuse(message: str) -> NoReturn:
    """Refuse a wheel.

    :raises WheelInvalid: always, with what is wrong.
    """
    raise WheelInvalid(f"The wheel is refused: {message}.", [Fault("form.wheel", message)])


@contextlib.contextmanager
def open_archive(stream: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """Open the archive in a seekable file and judge its members.

    :raises WheelInvalid: it is no archive, or one that could do harm; also from what reads its members in the block.
    """
    _check_end(stream)
    try:
        with zipfile.ZipFile(stream) as archive:
            _check_members(archive.infolist(), archive.start_dir)
            yield archive
    # RuntimeError is what zipfile raises for members that it cannot read: of a compression or version unknown to it.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError, struct.error) as exc:
        refuse(f"it is not a whole zip archive ({exc})")


def read_chunks(archive: zipfile.ZipFile, member: str) -> Iterator[bytes]:
    """Read a member piece by piece; its checksum is verified, and it gives no more than its size says."""
    with archive.open(member) as source:
        while chunk := source.read(_CHUNK_BYTES):
            yield chunk


def read_small(archive: zipfile.ZipFile, member: str, max_bytes: int) -> bytes:
    """Read a member as a whole.

    :raises WheelInvalid: it is missing or larger than ``max_bytes``.
    """
    try:
        size = archive.getinfo(member).file_size
    except KeyError:
        refuse(f"{member} is missing")
    if size > max_bytes:
        refuse(f"{member} has {size} bytes, and {max_bytes} at most are read")
    return archive.read(member)


def _check_end(stream: IO[bytes]) -> None:
    """Look at the size of the list of members before zipfile reads it into memory."""
    size = stream.seek(0, os.SEEK_END)
    begin = stream.seek(max(0, size - _END_BYTES - _MAX_COMMENT_BYTES - _END_64_BYTES))
    tail = stream.read(size - begin)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        refuse("it is not a whole zip archive (it has no end record)")
    if tail[max(0, at - _END_64_BYTES) : at].startswith(_END_64):
        refuse("it is an archive in the zip64 form, which no wheel needs")
    if len(tail) - at != _END_BYTES + int.from_bytes(tail[at + 20 : at + 22], "little"):
        # Two readers could find two different ends, and so two different lists of members.
        refuse("something stands behind the end of the archive")
    directory_bytes = int.from_bytes(tail[at + 12 : at + 16], "little")
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        refuse(f"its list of members takes {directory_bytes} bytes")


def _check_members(members: list[zipfile.ZipInfo], end: int) -> None:
    if len(members) > MAX_FILES:
        refuse(f"it has {len(members)} members, and {MAX_FILES} are allowed")
    total = sum(member.file_size for member in members)
    if total > MAX_TOTAL_BYTES:
        refuse(f"it unpacks to {total} bytes, and {MAX_TOTAL_BYTES} are allowed")
    for member in members:
        _check_member(member)
    _check_names([member.filename for member in members])
    ordered = sorted(members, key=lambda member: member.header_offset)
    for member, following in zip(ordered, [*(item.header_offset for item in ordered[1:]), end], strict=True):
        if member.header_offset + member.compress_size > following:
            refuse(f"the member {member.filename!r} shares its bytes with another one")


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    if member.flag_bits & _IS_ENCRYPTED:
        refuse(f"the member {name!r} is encrypted")
    if member.compress_type not in _COMPRESSIONS:
        refuse(f"the member {name!r} is compressed in a way that no wheel needs ({member.compress_type})")
    if member.file_size > MAX_FILE_BYTES or member.file_size > MAX_RATIO * member.compress_size + _RATIO_FREE_BYTES:
        refuse(f"the member {name!r} unpacks from {member.compress_size} to {member.file_size} bytes")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        refuse(f"the member {name!r} is a link or a device, not a file")
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or "\\" in name or (len(name) > 1 and name[1] == ":"):
        refuse(f"the path {name!r} is absolute or has backslashes")
    if any(part in ("", ".", "..") for part in parts):
        refuse(f"the path {name!r} leads out of the wheel")
    if not name.isprintable() or len(name) > _MAX_PATH_CHARS:
        refuse(f"the path {name[:100]!r} is too long or has characters that are not printable")
    if any(len(part.encode(errors="replace")) > _MAX_PART_BYTES for part in parts):
        refuse(f"the path {name[:100]!r} has a part of more than {_MAX_PART_BYTES} bytes")


def _check_names(paths: list[str]) -> None:
    """Refuse paths that are the same on some file system, and files that are folders of others."""
    seen: dict[str, str] = {}
    for path in paths:
        folded = unicodedata.normalize("NFC", path.rstrip("/")).casefold()
        if folded in seen:
            refuse(f"the paths {seen[folded]!r} and {path!r} are the same")
        seen[folded] = path
    for folded, path in seen.items():
        parent = folded.rpartition("/")[0]
        while parent:
            if not seen.get(parent, "/").endswith("/"):
                refuse(f"{seen[parent]!r} is a file and the folder of {path!r}")
            parent = parent.rpartition("/")[0]
