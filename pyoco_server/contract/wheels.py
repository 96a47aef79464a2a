"""Wheels on the wire: their names, tags, entries and the history of what was done with them.

Source: contract, section 2, "Wheel objects", and section 3, rows ``/wheels``; PEP 427, PEP 440, PEP 503.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from typing_extensions import TypedDict

from pyoco_server.contract import names
from pyoco_server.errors import Fault, InvalidInput

CONTENT_TYPE = "application/octet-stream"
TAGS_HEADER = "x-pyoco-wheel-tags"
UPLOAD, DELETE = "upload", "delete"

_NAME_PATTERN = re.compile(r"[A-Za-z0-9._+-]+\.whl")
#: Longer names make file systems and headers fail somewhere on their way.
_MAX_FILE_NAME_CHARS = 240
_MAX_TAGS = 100


@dataclass(frozen=True)
class WheelName:
    """What the file name of a wheel says.

    :param package: the normalised name (PEP 503).
    :param tags: the interpreters, ABIs and platforms that it is for.
    """

    file_name: str
    package: str
    version: Version
    tags: frozenset[Tag]

    @classmethod
    def parse(cls, file_name: str) -> WheelName:
        """Read a file name.

        :raises InvalidInput: it is not the name of a wheel; says why.
        """
        fault = None
        if len(file_name) > _MAX_FILE_NAME_CHARS:
            fault = f"has more than {_MAX_FILE_NAME_CHARS} characters"
        elif _NAME_PATTERN.fullmatch(file_name) is None:
            fault = "must consist of letters, digits and . _ + -, and end with .whl"
        else:
            try:
                package, version, _, tags = parse_wheel_filename(file_name)
                return cls(file_name, package, version, tags)
            except (InvalidWheelFilename, InvalidVersion) as exc:
                fault = f"is not name-version-python-abi-platform.whl: {exc}"
        raise InvalidInput(faults=[Fault("form.wheel", f"the name {file_name[:_MAX_FILE_NAME_CHARS]!r} {fault}")])


def parse_tags(text: str) -> list[str]:
    """Read tags that are separated by commas: trimmed, without empties and doubles, in their order.

    :raises InvalidInput: one of them cannot be a tag.
    """
    tags = list(dict.fromkeys(tag.strip() for tag in text.split(",") if tag.strip()))
    faults = [
        Fault("form.tags", f"{tag[: names.MAX_TAG_CHARS]!r} is not a tag: letters, digits, '_' and '-', 128 at most")
        for tag in tags
        if not names.is_tag(tag)
    ]
    if len(tags) > _MAX_TAGS:
        faults.append(Fault("form.tags", f"has more than {_MAX_TAGS} tags"))
    if faults:
        raise InvalidInput(faults=faults)
    return tags


def wheel_headers(sha256_hex: str, tags: Sequence[str]) -> dict[str, str]:
    """Give the headers of a stored wheel."""
    headers = {"content-type": CONTENT_TYPE, "sha256": sha256_hex}
    return {**headers, TAGS_HEADER: ",".join(tags)} if tags else headers


def tags_of(headers: Mapping[str, str]) -> list[str]:
    """Give the tags of a stored wheel; an empty list means that it is for everybody."""
    return [tag.strip() for tag in headers.get(TAGS_HEADER, "").split(",") if tag.strip()]


def serves(wheel_tags: Sequence[str], worker_tags: Sequence[str]) -> bool:
    """Say whether a wheel with these tags is for a worker with those."""
    return not wheel_tags or not set(wheel_tags).isdisjoint(worker_tags)


def normalised(package: str) -> str:
    """Give the name under which packages compare (PEP 503)."""
    return str(canonicalize_name(package))


class WheelEntry(TypedDict):
    """A wheel as it is listed.

    ``modified`` is in unix seconds, ``mtime`` the same as the store has it, a text.
    """

    name: str
    size_bytes: int
    bucket: str
    nuid: str
    modified: float
    mtime: str
    digest: str
    sha256_b64: str | None
    sha256_hex: str | None
    tags: list[str]


@dataclass(frozen=True)
class Actor:
    """Whose key it was; both ``None`` where no keys are asked for."""

    tenant_id: str | None = None
    api_key_id: str | None = None


@dataclass(frozen=True)
class Source:
    """Where a request came from.

    :param remote_addr: the socket's peer; the others are what the request's headers say.
    """

    remote_addr: str | None = None
    x_forwarded_for: str | None = None
    x_real_ip: str | None = None
    user_agent: str | None = None
    host: str | None = None
    scheme: str | None = None


@dataclass(frozen=True)
class WheelEvent:
    """One upload or delete, as it stands in the history.

    :param replace: what an upload asked for; ``None`` of a delete.
    """

    occurred_at: float
    action: str
    wheel_name: str
    tags: list[str]
    size_bytes: int
    sha256_hex: str
    replace: bool | None
    actor: Actor
    source: Source
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def key(self) -> str:
        """The event's key in its bucket: sorted by time."""
        return f"{int(self.occurred_at * 1000):013d}_{self.event_id}"

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def read_event(payload: bytes) -> dict[str, Any]:
    """Decode an event of the history, whoever wrote it.

    :raises ValueError: it is none.
    """
    document = json.loads(payload)
    if not isinstance(document, dict) or not isinstance(document.get("wheel_name"), str):
        raise ValueError("an event must be a JSON object with a wheel_name")
    return document
