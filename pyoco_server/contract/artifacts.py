"""Artifacts: files that the tasks of a run leave, what they may be called, and how they are told of.

Source: contract, section 2 (``pyoco_artifacts``, and the task records of a snapshot).
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
import unicodedata
from collections.abc import Mapping

from typing_extensions import NotRequired, TypedDict

#: The longest name in bytes: it becomes a part of NATS subjects, of which a connection takes 4 KiB.
MAX_NAME_BYTES = 1_024
#: Files of one attempt that are kept.
MAX_FILES = 1_000

#: Of the name of a task in that of its output.
_MAX_TASK_CHARS = 100

BYTES_TYPE = "application/octet-stream"
TEXT_TYPE = "text/plain; charset=utf-8"

RUN_HEADER = "x-pyoco-run-id"
ATTEMPT_HEADER = "x-pyoco-attempt"
TASK_HEADER = "x-pyoco-task"
TYPE_HEADER = "content-type"

#: Only what Python knows itself: the tables of the operating system differ from machine to machine.
_TYPES = mimetypes.MimeTypes()
_ENCODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


class ArtifactEntry(TypedDict):
    """An artifact as it is listed; ``task`` is null where nobody knows which one has made it."""

    name: str
    attempt: int
    task: str | None
    size_bytes: int
    content_type: str
    sha256: str
    created_at: float


class ArtifactMark(TypedDict):
    """What the record of a task says of a file that it saved; ``reason`` says why one is not kept."""

    kept: bool
    type: NotRequired[str]
    size_bytes: NotRequired[int]
    sha256: NotRequired[str]
    reason: NotRequired[str]
    #: Of the file that holds the task's output, which is too large for its record.
    is_output: NotRequired[bool]


def name_fault(name: str) -> str | None:
    """Say why an artifact cannot have this name; ``None`` where it can.

    A name is a path below the folder of the artifacts: parts between slashes, none of which leads elsewhere.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8 text"
    if size > MAX_NAME_BYTES:
        return f"its name has {size} bytes, and {MAX_NAME_BYTES} are the most"
    if any(unicodedata.category(char) == "Cc" for char in name):
        return "its name has control characters"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "its name leaves the folder of the artifacts"
    return None


def output_name(task: str, ending: str) -> str:
    """Give the name of the file that holds the output of a task as a whole, another one for each task."""
    part = re.sub(r"[^\w.-]", "_", task)[:_MAX_TASK_CHARS]
    if part != task or not part.strip("."):
        part = f"{part}-{hashlib.sha256(task.encode(errors='backslashreplace')).hexdigest()[:8]}"
    return f"{part}/output.{ending}"


def object_name(run_id: str, attempt: int, name: str) -> str:
    """Give the name of the object that holds an artifact."""
    return f"{run_id}/{attempt}/{name}"


def content_place(run_id: str, attempt: int | None = None, name: str | None = None) -> str:
    """Give the subject tokens under which the content of artifacts lies: of a run, or of those that are named.

    :param attempt: any when ``None``; so is the name.
    """
    of_attempt = "*" if attempt is None else str(attempt)
    return f"{_token(run_id)}.{of_attempt}.{'*' if name is None else _token(name)}"


def read_place(content: str) -> tuple[str, int, str] | None:
    """Give run, attempt and name of an artifact from the name of its content; ``None`` for content of others."""
    try:
        run_id, attempt, name, _ = content.split(".")
        return _text(run_id), int(attempt), _text(name)
    except ValueError:
        return None


def content_type(name: str, type_name: str | None) -> str:
    """Give the media type of an artifact, by its name or by what was saved.

    :param type_name: of the value that ``ctx.save_artifact`` was given; ``None`` where it is not known.
    """
    guessed, encoding = _TYPES.guess_type(f"/{name}", strict=False)
    if encoding is not None:
        return _ENCODED.get(encoding, BYTES_TYPE)
    if guessed is None:
        return BYTES_TYPE if type_name in (None, "bytes") else TEXT_TYPE
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed


def artifact_headers(run_id: str, attempt: int, name: str, task: str | None, type_name: str | None) -> dict[str, str]:
    """Give what is stored beside the bytes of an artifact."""
    task_header = {} if task is None else {TASK_HEADER: task}
    told = {RUN_HEADER: run_id, ATTEMPT_HEADER: str(attempt), **task_header}
    return {**told, TYPE_HEADER: content_type(name, type_name)}


def type_of(headers: Mapping[str, str]) -> str:
    """Give the media type that is stored with an artifact, where that can be sent in a header."""
    found = headers.get(TYPE_HEADER, "")
    return found if found and found.isascii() and found.isprintable() else BYTES_TYPE


def _token(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _text(token: str) -> str:
    return base64.urlsafe_b64decode(token.encode()).decode()
