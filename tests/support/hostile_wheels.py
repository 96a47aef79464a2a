"""Wheels that must not be installed, each with what its refusal has to say."""

from __future__ import annotations

import io
import stat
import zipfile

from tests.support.wheels import wheel

INFO = "demo-1.0.dist-info"


def member(path: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path)
    info.external_attr = mode << 16
    return info


def encrypted(data: bytes) -> bytes:
    """Set the mark of encryption in the list of members."""
    archive = bytearray(data)
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    return bytes(archive)


def overlapping(data: bytes) -> bytes:
    """Have the second member of the list point to the bytes of the first."""
    archive = bytearray(data)
    second = archive.index(b"PK\x01\x02", archive.index(b"PK\x01\x02") + 4)
    archive[second + 42 : second + 46] = bytes(4)
    return bytes(archive)


def damaged(data: bytes) -> bytes:
    """Change a byte of the first file's content."""
    archive = bytearray(data)
    archive[60] ^= 0xFF
    return bytes(archive)


def compressed(data: bytes, how: int) -> bytes:
    """Compress all members in another way."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for info in source.infolist():
            target.writestr(info.filename, source.read(info), how)
    return buffer.getvalue()


#: Kind -> the bytes of a wheel that calls itself demo 1.0, and a pattern of the refusal.
HOSTILE: dict[str, tuple[bytes, str]] = {
    "no archive": (b"MZ" + bytes(500), "not a whole zip"),
    "cut off": (wheel()[:-30], "not a whole zip"),
    "damaged": (damaged(wheel()), "not a whole zip"),
    "bytes behind the end": (wheel() + b"#!/bin/sh\n", "behind the end"),
    "path that leads out": (wheel(files={"../evil.py": b"x"}), "'../evil.py' leads out"),
    "absolute path": (wheel(files={"/etc/evil.py": b"x"}), "'/etc/evil.py' is absolute"),
    "backslashes": (wheel(files={"demo\\..\\..\\evil.py": b"x"}), "backslashes"),
    "drive": (wheel(files={"C:evil.py": b"x"}), "absolute"),
    "control characters": (wheel(files={"demo/\x1b[31m.py": b"x"}), "not printable"),
    "long name": (wheel(files={"demo/" + "n" * 300: b"x"}), "a part of more than 255 bytes"),
    "symlink": (wheel(members=[(member("demo/link", stat.S_IFLNK | 0o777), b"/etc/passwd")]), "is a link"),
    "device": (wheel(members=[(member("demo/null", stat.S_IFCHR | 0o666), b"")]), "is a link or a device"),
    "two names for one file": (wheel(files={"demo/a.py": b"1", "demo/A.py": b"2"}), "are the same"),
    "file that is a folder": (wheel(files={"demo": b"1", "demo/a.py": b"2"}), "is a file and the folder"),
    "bomb": (wheel(files={"demo/b.bin": bytes(60_000_000)}), "unpacks from"),
    "lzma": (compressed(wheel(), zipfile.ZIP_LZMA), "compressed in a way that no wheel needs"),
    "bzip2": (compressed(wheel(), zipfile.ZIP_BZIP2), "compressed in a way that no wheel needs"),
    "shared bytes": (overlapping(wheel()), "not a whole zip|shares its bytes"),
    "encrypted": (encrypted(wheel()), "is encrypted"),
    "tampered file": (wheel(replaced={"demo/__init__.py": b"evil = 1"}), "'demo/__init__.py' is not what RECORD says"),
    "unlisted file": (wheel(members=[("demo/extra.py", b"x")]), "'demo/extra.py' does not stand in"),
    "listed and not there": (wheel(replaced={"demo/__init__.py": None}), "lists 'demo/__init__.py'"),
    "no RECORD": (wheel(replaced={f"{INFO}/RECORD": None}), "RECORD is missing"),
    "RECORD without hashes": (
        wheel(replaced={f"{INFO}/RECORD": b"demo/__init__.py,,\n"}),
        "no hash of 'demo/__init__.py'",
    ),
    "weak hash": (wheel(replaced={f"{INFO}/RECORD": b"demo/__init__.py,md5=abc,\n"}), "no hash of"),
    "RECORD that is none": (wheel(replaced={f"{INFO}/RECORD": b"\xff\xfe"}), "RECORD cannot be read"),
    "no METADATA": (wheel(replaced={f"{INFO}/METADATA": None}), "METADATA is missing"),
    "METADATA without a name": (wheel(replaced={f"{INFO}/METADATA": b"Version: 1.0\n\n"}), "lacks Name or Version"),
    "other name": (wheel(named=("other", "1.0")), "METADATA says other 1.0, its name demo 1.0"),
    "other version": (wheel(named=("demo", "9.9")), "METADATA says demo 9.9, its name demo 1.0"),
    "other package": (wheel(package="other"), "other-1.0.dist-info does not belong to demo-1.0"),
    "two descriptions": (wheel(files={"evil-1.0.dist-info/METADATA": b"Name: evil\n"}), "2 folders"),
    "no description": (
        wheel(replaced={f"{INFO}/{name}": None for name in ("METADATA", "WHEEL", "RECORD")}),
        "0 folders",
    ),
    "newer kind of wheel": (wheel(replaced={f"{INFO}/WHEEL": b"Wheel-Version: 2.0\n"}), "Wheel-Version is '2.0'"),
    "unknown place": (wheel(files={"demo-1.0.data/startup/evil.pth": b"x"}), "in no known place"),
    "data of another": (wheel(files={"evil-1.0.data/purelib/evil.py": b"x"}), "in no known place"),
    "two files for one place": (
        wheel(files={"demo/a.py": b"1", "demo-1.0.data/purelib/demo/a.py": b"2"}),
        "have the same place",
    ),
    "entry points that are none": (wheel(entry_points="no section = 1"), "entry_points.txt cannot be read"),
    "python that makes no sense": (wheel(metadata="Requires-Python: soon\n"), "Requires-Python 'soon'"),
}
