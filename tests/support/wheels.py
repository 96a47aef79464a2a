"""Wheels for tests, sound ones and others, made without any build tool."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.objects import Listing, ObjectStore
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.wheels import Actor, Source, WheelName, wheel_headers
from pyoco_server.operations.wheels import Upload, WheelRegistry
from pyoco_server.stores.wheels import WheelHistory, WheelStore
from tests.support.parts import Parts

#: Long enough to count as a usage text.
USAGE = "How to use this package: name its functions in a flow.yaml and submit it to a worker of its tags."
PLUGIN = "[pyoco.tasks]\n{package} = {package}:register\n"


def file_name(package: str = "demo", version: str = "1.0", tags: str = "py3-none-any") -> str:
    return f"{package}-{version}-{tags}.whl"


def wheel(
    package: str = "demo",
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    metadata: str = "",
    description: str = USAGE,
    entry_points: str | None = None,
    named: tuple[str, str] | None = None,
    replaced: Mapping[str, bytes | None] | None = None,
    members: Sequence[tuple[zipfile.ZipInfo | str, bytes]] = (),
) -> bytes:
    """Make a wheel.

    :param files: what it holds beside its description; a module that says its version when ``None``.
    :param metadata: further lines of METADATA.
    :param named: what METADATA says instead of package and version.
    :param replaced: other bytes for files, behind the back of RECORD; ``None`` leaves one out.
    :param members: what stands in the archive without standing in RECORD.
    """
    said_package, said_version = named or (package, version)
    folder = f"{package}-{version}.dist-info"
    content = dict(files if files is not None else {f"{package}/__init__.py": module(version)})
    about = f"Metadata-Version: 2.1\nName: {said_package}\nVersion: {said_version}\nSummary: a test\n{metadata}"
    content[f"{folder}/METADATA"] = f"{about}\n{description}\n".encode()
    content[f"{folder}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if entry_points is not None:
        content[f"{folder}/entry_points.txt"] = entry_points.encode()
    lines = [f"{path},sha256={_hash(data)},{len(data)}\n" for path, data in content.items()]
    content[f"{folder}/RECORD"] = ("".join(lines) + f"{folder}/RECORD,,\n").encode()
    written: dict[str, bytes | None] = {**content, **(replaced or {})}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in written.items():
            if data is not None:
                # With a time of its own: the same wheel has the same bytes whenever it is made.
                archive.writestr(zipfile.ZipInfo(path), data, zipfile.ZIP_DEFLATED)
        for member, content_of in members:
            archive.writestr(member, content_of)
    return buffer.getvalue()


def module(version: str) -> bytes:
    """Give a module whose task says which version it is."""
    return f"""\
from pathlib import Path

def which():
    return {version!r}

def where():
    return str(Path(__file__).parent.parent)

def register(registry):
    registry.task(name="which_plugin")(which)
""".encode()


def write_wheel(folder: Path, package: str = "demo", version: str = "1.0", **options: object) -> Path:
    """Make a wheel as a file with the name that it must have."""
    path = folder / file_name(package, version)
    path.write_bytes(wheel(package, version, **options))
    return path


def chunk_subjects(parts: Parts) -> set[str]:
    """Give the contents that lie in the registry's store, listed or not."""
    prefix = names.chunk_subject("pyoco_wheels", "")
    subjects = parts.info("OBJ_pyoco_wheels", subjects_filter=f"{prefix}>")["state"].get("subjects") or {}
    return {subject.removeprefix(prefix) for subject in subjects}


class Registry:
    """The registry as a gateway uses it, and as somebody who goes past every gateway."""

    def __init__(self, bus: Bus) -> None:
        config = Config.from_env({})
        self._bus = bus
        self._bucket = config.wheel_object_store_bucket
        self._registry = WheelRegistry(
            WheelStore(bus, config), WheelHistory(bus, config), max_bytes=config.wheel_max_bytes
        )
        self._objects = ObjectStore(bus, self._bucket)

    def upload(
        self, package: str = "demo", version: str = "1.0", *, tags: Sequence[str] = (), **options: object
    ) -> str:
        """Upload a wheel and give its file name."""
        data = wheel(package, version, **options)
        name = WheelName.parse(file_name(package, version))
        upload = Upload(name, io.BytesIO(data), len(data), list(tags), True, Actor(), Source())
        return self._registry.upload(upload).info.name

    def put_unchecked(self, name: str, data: bytes, *, tags: Sequence[str] = ()) -> None:
        """Store whatever under whatever name."""
        content = self._objects.store(io.BytesIO(data))
        headers = wheel_headers(content.digest.hex(), tags)
        self._objects.publish(name, content, headers, revision=self.listing().revision)

    def put_without_hash(self, name: str, data: bytes) -> None:
        """Store whatever as a program does that says no hash of it."""
        self.put_unchecked(name, data)
        subject = names.object_subject(self._bucket, name)
        document = json.loads(self._bus.last(names.object_stream(self._bucket), subject).payload)
        self._bus.write(Write(subject, json.dumps({**document, "digest": ""}).encode(), is_rollup=True))

    def delete(self, name: str) -> None:
        self._registry.delete(name, Actor(), Source())

    def listing(self) -> Listing:
        return self._objects.list()

    def clear(self) -> None:
        for info in self.listing().objects:
            self._objects.delete(info)


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
