"""Whether a file is a wheel that can be installed as what its name says.

Source: PEP 427 and the "Binary distribution format" and "Recording installed projects" of packaging.python.org;
design, section 10.
"""

from __future__ import annotations

import base64
import binascii
import configparser
import csv
import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from typing import IO

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from pyoco_server.contract.wheels import WheelName, normalised
from pyoco_server.wheelfile.archive import open_archive, read_chunks, read_small, refuse

#: The group under which pyoco finds plug-ins.
PLUGIN_GROUP = "pyoco.tasks"
#: Places of ``.data`` whose files go to ``sys.path``; those of the others are not installed.
_ON_PATH = ("purelib", "platlib")
_SCHEMES = (*_ON_PATH, "headers", "scripts", "data")
#: Who signs a wheel signs its RECORD, so these three do not stand in it with a hash.
_UNRECORDED = ("RECORD", "RECORD.jws", "RECORD.p7s")
_HASHES = ("sha256", "sha384", "sha512")
_MAX_METADATA_BYTES = 4 * 1024 * 1024
_MAX_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Wheel:
    """A wheel that was found sound.

    :param requires: its requirements, as METADATA has them.
    :param entry_points: group -> the names of its entry points.
    :param files: path in the archive -> path below the folder that goes to ``sys.path``.
    """

    name: WheelName
    requires_python: SpecifierSet
    requires: tuple[str, ...]
    entry_points: dict[str, tuple[str, ...]]
    summary: str
    description: str
    project_urls: tuple[str, ...]
    files: dict[str, str]

    @property
    def plugins(self) -> tuple[str, ...]:
        """The names under which pyoco finds it."""
        return self.entry_points.get(PLUGIN_GROUP, ())


def check_wheel(stream: IO[bytes], name: WheelName, pulse: Callable[[], None] = lambda: None) -> Wheel:
    """Check all of a wheel: archive, RECORD with every hash, METADATA against the file name.

    :param stream: a seekable file; only read.
    :param pulse: called between pieces of work; what it raises ends the check.
    :raises WheelInvalid: the first thing that is wrong.
    """
    with open_archive(stream) as archive:
        files = [path for path in archive.namelist() if not path.endswith("/")]
        folder = _dist_info(files, name)
        _check_wheel_file(_headers(archive, f"{folder}/WHEEL"))
        metadata = _headers(archive, f"{folder}/METADATA")
        _check_metadata(metadata, name)
        targets = _targets(files, folder)
        _check_record(archive, files, folder, pulse)
        return Wheel(
            name,
            _requires_python(metadata),
            tuple(map(str, metadata.get_all("Requires-Dist", []))),
            _entry_points(archive, f"{folder}/entry_points.txt"),
            str(metadata.get("Summary", "")).strip(),
            _description(metadata),
            tuple(map(str, metadata.get_all("Project-URL", []))),
            targets,
        )


def _dist_info(files: list[str], name: WheelName) -> str:
    """Find the one folder that describes the wheel."""
    found = sorted({path.partition("/")[0] for path in files if path.partition("/")[0].endswith(".dist-info")})
    if len(found) != 1:
        refuse(f"it has {len(found)} folders *.dist-info where there must be one")
    package, _, version = found[0].removesuffix(".dist-info").rpartition("-")
    if not package or normalised(package) != name.package or not _is_version(version, name.version):
        refuse(f"its folder {found[0]} does not belong to {name.file_name}")
    return found[0]


def _is_version(text: str, version: Version) -> bool:
    try:
        # A file name has no hyphen and no plus of its own.
        return Version(text.replace("_", "+")) == version or Version(text.replace("_", "-")) == version
    except InvalidVersion:
        return False


def _headers(archive: zipfile.ZipFile, path: str) -> Message:
    try:
        return Parser().parsestr(read_small(archive, path, _MAX_METADATA_BYTES).decode())
    except UnicodeDecodeError:
        refuse(f"{path} is not UTF-8")


def _check_wheel_file(wheel: Message) -> None:
    version = str(wheel.get("Wheel-Version", ""))
    if version.split(".")[0] != "1":
        refuse(f"its Wheel-Version is {version!r}, and 1.x is what can be installed")


def _check_metadata(metadata: Message, name: WheelName) -> None:
    package, version = metadata.get("Name"), metadata.get("Version")
    if not package or not version:
        refuse("its METADATA lacks Name or Version")
    if normalised(str(package)) != name.package or not _is_version(str(version), name.version):
        refuse(f"its METADATA says {package} {version}, its name {name.package} {name.version}")


def _requires_python(metadata: Message) -> SpecifierSet:
    text = str(metadata.get("Requires-Python", ""))
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        refuse(f"its Requires-Python {text!r} makes no sense")


def _targets(files: list[str], dist_info: str) -> dict[str, str]:
    """Say where each file goes that goes to ``sys.path``."""
    data = dist_info.removesuffix(".dist-info") + ".data"
    targets: dict[str, str] = {}
    for path in files:
        head, _, rest = path.partition("/")
        if head.endswith(".data") and rest:
            scheme, _, inner = rest.partition("/")
            if head != data or scheme not in _SCHEMES or not inner:
                refuse(f"the path {path!r} is in no known place of {data}")
            if scheme in _ON_PATH:
                targets[path] = inner
        else:
            targets[path] = path
    if len(set(targets.values())) != len(targets):
        refuse(f"two of its files have the same place once {data} is unpacked")
    return targets


def _check_record(archive: zipfile.ZipFile, files: list[str], folder: str, pulse: Callable[[], None]) -> None:
    """Compare every file with RECORD: all are listed, with their true hash and size, and nothing else is."""
    place = f"{folder}/RECORD"
    listed: dict[str, tuple[str, str]] = {}
    try:
        rows = list(csv.reader(read_small(archive, place, _MAX_RECORD_BYTES).decode().splitlines()))
    except (csv.Error, UnicodeDecodeError) as exc:
        refuse(f"{place} cannot be read ({exc})")
    for row in rows:
        if len(row) != 3 or row[0] in listed:
            refuse(f"{place} has a line that is no path, hash and size, or a path twice: {','.join(row)[:200]!r}")
        listed[row[0]] = (row[1], row[2])
    unrecorded = {f"{folder}/{name}" for name in _UNRECORDED}
    for path in files:
        pulse()
        if path not in unrecorded:
            if path not in listed:
                refuse(f"the file {path!r} does not stand in {place}")
            _check_file(archive, path, *listed[path], pulse)
    missing = listed.keys() - set(files) - unrecorded
    if missing:
        refuse(f"{place} lists {min(missing)!r}, which is not there")


def _check_file(archive: zipfile.ZipFile, path: str, expected: str, size: str, pulse: Callable[[], None]) -> None:
    algorithm, _, encoded = expected.partition("=")
    if algorithm not in _HASHES:
        refuse(f"RECORD has no hash of {path!r} by {', '.join(_HASHES)}")
    digest = hashlib.new(algorithm)
    count = 0
    for chunk in read_chunks(archive, path):
        digest.update(chunk)
        count += len(chunk)
        pulse()
    try:
        is_right = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)) == digest.digest()
    except (binascii.Error, ValueError):
        is_right = False
    if not is_right or (size and size != str(count)):
        refuse(f"the file {path!r} is not what RECORD says it is")


class _EntryPoints(configparser.ConfigParser):
    """A parser that leaves names of entry points as they are written."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _entry_points(archive: zipfile.ZipFile, path: str) -> dict[str, tuple[str, ...]]:
    if path not in archive.namelist():
        return {}
    points = _EntryPoints(delimiters=("=",), interpolation=None, strict=False)
    try:
        points.read_string(read_small(archive, path, _MAX_METADATA_BYTES).decode())
    except (configparser.Error, UnicodeDecodeError) as exc:
        refuse(f"{path} cannot be read ({exc})")
    return {group: tuple(points[group]) for group in points.sections()}


def _description(metadata: Message) -> str:
    """Give the usage text: the body, or in older metadata a header."""
    body = metadata.get_payload()
    return (body.strip() if isinstance(body, str) else "") or str(metadata.get("Description", "")).strip()
