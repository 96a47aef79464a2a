"""The record of a task in a snapshot that is too large: which parts of it are cut.

Source: contract, section 2, "Run snapshot".
"""

from __future__ import annotations

import json
from typing import Any


def trimmed(record: dict[str, Any], limit_bytes: int) -> dict[str, Any]:
    """Cut the parts of a task record that can be large: output, inputs one by one, traceback, error."""
    cut = dict(record)
    for name in ("output", "traceback", "error"):
        cut[name] = _shortened(record.get(name), limit_bytes)
    if cut["output"] is not record.get("output"):
        cut.pop("is_resumable", None)
    inputs = record.get("inputs")
    if isinstance(inputs, dict):
        cut["inputs"] = {name: _shortened(value, limit_bytes) for name, value in inputs.items()}
    cut["artifacts"] = _shortened(record.get("artifacts"), limit_bytes)
    return cut


def _shortened(value: Any, limit_bytes: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else json.dumps(value)
    size = len(json.dumps(text))
    if size <= limit_bytes:
        return value
    return f"{text[: limit_bytes // 2]}… (trimmed: {size} bytes in all)"
