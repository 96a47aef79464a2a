"""Messages and times as the JetStream API writes them.

Source: JetStream API, ``STREAM.MSG.GET``; RFC 3339.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, timezone
from typing import Any

from pyoco_server.bridge.messages import Stored


def stored_message(answer: dict[str, Any]) -> Stored:
    """Read the answer of ``STREAM.MSG.GET``."""
    message = answer["message"]
    return Stored(
        subject=message["subject"],
        payload=base64.b64decode(message.get("data", "")),
        seq=int(message["seq"]),
        stored_at=unix_seconds(message["time"]),
        headers=_headers(message.get("hdrs")),
    )


def _headers(encoded: str | None) -> dict[str, str]:
    if not encoded:
        return {}
    lines = base64.b64decode(encoded).decode(errors="replace").split("\r\n")[1:]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


def unix_seconds(text: str) -> float:
    """Read the server's RFC 3339 time, whose fraction has up to nine digits."""
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.replace("Z", "+00:00"))
    # Python 3.10 reads fractions of three or six digits only.
    text = re.sub(r"\.(\d+)", lambda match: "." + match[1].ljust(6, "0"), text)
    return datetime.fromisoformat(text).timestamp()


def rfc3339(moment: float) -> str:
    """Write a time, unix seconds, as the server reads it; one before 1970 becomes that."""
    return datetime.fromtimestamp(max(0.0, moment), timezone.utc).isoformat().replace("+00:00", "Z")
