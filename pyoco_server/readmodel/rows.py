"""How a snapshot becomes a row of the read model.

Source: design, section 3.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

from pyoco_server.bridge.messages import Change
from pyoco_server.contract.json_text import to_json
from pyoco_server.contract.projections import SUMMARY_FIELDS, without_records
from pyoco_server.states import RunStatus

#: Of a larger snapshot only what lists show is kept here; whoever wants the rest asks the store.
_MAX_DOCUMENT_CHARS = 8_192
#: What differs between two errors of one kind: numbers, addresses, ids.
_VARYING = re.compile(r"\b0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8}[0-9a-fA-F-]*|\d+(\.\d+)?")
_MAX_KIND_CHARS = 200
#: As they are written: to ask a member of an enumeration for its text takes longer than to compare two texts.
_STATUSES = [status.value for status in RunStatus]


def run_row(key: str, change: Change, *, has_tenants: bool, disconnect_timeout_sec: float) -> tuple[Any, ...]:
    """Make the row of a snapshot, in the order of the table.

    :param key: the run id by which it is stored.
    :param has_tenants: whether runs are told apart by tenant; else all have the tenant ''.
    :param disconnect_timeout_sec: silence after which the holder of a run counts as gone.
    :raises ValueError: the payload is not the snapshot of this run; says why.
    """
    document = json.loads(change.payload)
    if not isinstance(document, dict) or document.get("run_id") != key:
        raise ValueError("not a snapshot of this run")
    status = document.get("status")
    if status not in _STATUSES:
        raise ValueError(f"{status!r} is no state of a run")
    updated_at = _moment(document, "updated_at", "heartbeat_at")
    created_at = _moment(document, "submitted_at", "start_time", "updated_at", "heartbeat_at")
    text = to_json(without_records(document))
    is_whole = len(text) <= _MAX_DOCUMENT_CHARS
    if not is_whole:
        text = to_json({name: document[name] for name in SUMMARY_FIELDS if name in document})
    return (
        key,
        change.seq,
        status,
        _string(document, "flow_name"),
        _string(document, "tag"),
        _string(document, "tenant_id") if has_tenants else "",
        _string(document, "workflow_yaml_sha256") or None,
        int(document.get("origin") is not None),
        _count(document, "attempt"),
        int(status == "PENDING" and document.get("retry_at") is not None),
        int(change.expires),
        created_at,
        updated_at,
        _duration_sec(document),
        failure_of(document.get("error")) if status == "FAILED" else None,
        _moment(document, "lease_until") or None,
        _string(document, "lease_reply") or None,
        _moment(document, "timeout_at") or None,
        _free_at(document, updated_at + disconnect_timeout_sec),
        int(is_whole),
        text,
    )


def _free_at(document: dict[str, Any], silent_at: float) -> float | None:
    """Say from when on a worker that asks over HTTP may be given the run, as far as a snapshot tells.

    :param silent_at: when the holder will have been silent for too long.
    :return: unix seconds, 0 = now; ``None`` = not as it stands: such a worker knows the tasks of its own file alone.
    """
    status = document["status"]
    is_open = status in ("PENDING", "RUNNING") and document.get("retry_at") is None
    if not is_open or document.get("workflow_yaml_sha256") is not None:
        return None
    # A worker of 0.5.1 writes neither its id nor an attempt.
    is_released = document.get("worker_id") is None and _count(document, "attempt") > 0
    is_held = status == "RUNNING" and not is_released
    return (_moment(document, "lease_until") or silent_at) if is_held else 0.0


def failure_of(error: Any) -> str:
    """Name the kind of a failure: the same for errors whose first lines differ in nothing but numbers and ids."""
    lines = error.strip().splitlines() if isinstance(error, str) else []
    kind = _VARYING.sub("#", lines[0][:_MAX_KIND_CHARS]) if lines else ""
    return hashlib.sha256(kind.encode(errors="replace")).hexdigest()[:12]


def _duration_sec(document: dict[str, Any]) -> float | None:
    """Give how long a run took, from its claim to its end; ``None`` while it has no end."""
    try:
        begun_at, ended_at = _moment(document, "start_time"), _moment(document, "end_time")
    except ValueError:
        return None
    return ended_at - begun_at if 0.0 < begun_at <= ended_at else None


def _string(document: dict[str, Any], name: str) -> str:
    value = document.get(name) or ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    # What no encoding has can stand neither in a table nor in an answer; this raises a ValueError, too.
    value.encode()
    return value


def _count(document: dict[str, Any], name: str) -> int:
    value = document.get(name) or 0
    if not isinstance(value, int) or abs(value) > 2**62:
        raise ValueError(f"{name} is not a count")
    return int(value)


def _moment(document: dict[str, Any], *names: str) -> float:
    """Give the first of these times that is set; 0 when none is."""
    for name in names:
        value = document.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
            raise ValueError(f"{name} is not a time")
        if math.isfinite(value) and value:
            return float(value)
    return 0.0
