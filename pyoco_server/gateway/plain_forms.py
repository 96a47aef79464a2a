"""Forms as nearly every client sends them, read by a few steps; whatever looks otherwise is left to the whole parser.

That one takes any form there may be, and ten times as long. Nothing may be read here that it would read otherwise.

Source: RFC 7578 (multipart/form-data); RFC 2046, section 5.1.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

_CONTENT_TYPE = re.compile(r"multipart/form-data; ?boundary=([A-Za-z0-9_-]{1,70})")
#: Of a field, and of a file, which may say of what type it is.
_HEAD = re.compile(
    rb'Content-Disposition: form-data; name="([A-Za-z_]{1,64})"'
    rb'(?:(; filename="[A-Za-z0-9 _.+-]+")(?:\r\nContent-Type: [ -~]*)?)?',
    re.IGNORECASE,
)
_END_OF_HEAD = b"\r\n\r\n"
#: A query without what stands for other characters.
_PLAIN_QUERY = re.compile(r"[A-Za-z0-9_.~=&-]*")


@dataclass(frozen=True)
class PlainForm:
    """What a form holds, by name; of several with the same name the first.

    :param fields: values that are no files, as text.
    """

    fields: dict[str, str]
    files: dict[str, bytes]


def read_form(content_type: str, body: bytes) -> PlainForm | None:
    """Read a form; ``None`` where it is none, or not a plain one."""
    match = _CONTENT_TYPE.fullmatch(content_type)
    if match is None:
        return None
    # Also where it stands in the midst of a value, which then looks otherwise.
    before, *parts = body.split(b"--" + match[1].encode())
    if before or not parts or parts.pop() not in (b"--", b"--\r\n"):
        return None
    form = PlainForm({}, {})
    for part in parts:
        head, end_of_head, value = part[2:-2].partition(_END_OF_HEAD)
        described = _HEAD.fullmatch(head)
        is_whole = part.startswith(b"\r\n") and part.endswith(b"\r\n")
        if described is None or not end_of_head or not is_whole:
            return None
        name = described[1].decode()
        if described[2]:
            form.files.setdefault(name, value)
        else:
            form.fields.setdefault(name, value.decode(errors="replace"))
    return form


def read_plain_query(query: str) -> dict[str, str] | None:
    """Read a query string; ``None`` where it is not plain."""
    if _PLAIN_QUERY.fullmatch(query) is None:
        return None
    # Of several values of one name the first is the last to come.
    return dict(reversed(parse_qsl(query, keep_blank_values=True)))
