"""The record of a worker in the registry.

Source: contract, section 2, "Worker record".
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pyoco_server.states import WorkerState

#: So many entries of each list of ``wheel_sync`` are kept.
WHEELS_SHOWN = 50


def _no_wheels() -> dict[str, Any]:
    """The state of wheel sync on a worker that has it switched off."""
    return {
        "enabled": False,
        "last_result": "disabled",
        "last_attempt_at": None,
        "last_success_at": None,
        "last_synced_at": None,
        "last_error": None,
        "selected_count": 0,
        "updated_count": 0,
        "removed_count": 0,
        "skipped_incompatible_count": 0,
        "selected_wheels": [],
        "updated_wheels": [],
        "removed_wheels": [],
        "skipped_incompatible": [],
        "installed_wheels": [],
        # Ours: a wheel brings no dependencies with it.
        "missing_requirements": [],
    }


@dataclass(frozen=True)
class WorkerRecord:
    """One worker as it is stored; ``extra`` keeps what other programs wrote."""

    worker_id: str
    instance_id: str
    state: WorkerState
    tags: list[str]
    updated_at: float
    last_seen_at: float
    hidden: bool = False
    current_run_id: str | None = None
    last_run_id: str | None = None
    last_run_status: str | None = None
    last_run_started_at: float | None = None
    last_run_finished_at: float | None = None
    stopped_at: float | None = None
    stop_reason: str | None = None
    wheel_sync: dict[str, Any] = field(default_factory=_no_wheels)
    #: Ours: how many runs it executes at the same time, and which.
    concurrency: int = 1
    current_run_ids: list[str] = field(default_factory=list)
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    #: Ours: when the sentinel found the worker dead, unix seconds.
    lost_at: float | None = None
    #: Ours: when somebody asked this life of the worker to take no more runs and to stop, unix seconds.
    drain_requested_at: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def seen(self, now: float) -> WorkerRecord:
        """Give the record with a fresh sign of life."""
        return replace(self, last_seen_at=now, updated_at=now)

    def is_live(self, now: float, timeout_sec: float) -> bool:
        """Say whether the worker has shown itself within ``timeout_sec`` and did not stop."""
        return effective_state(self.state, self.last_seen_at, now, timeout_sec) in (
            WorkerState.RUNNING,
            WorkerState.IDLE,
        )

    def to_document(self) -> dict[str, Any]:
        """Give the JSON object."""
        document: dict[str, Any] = {**self.extra, **{name: getattr(self, name) for name in _NAMES}}
        document["state"] = self.state.value
        # 0.5.1 reads the sign of life under three names.
        document["last_heartbeat_at"] = document["heartbeat_at"] = self.last_seen_at
        return document

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_document()).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> WorkerRecord:
        """Decode a stored record.

        :raises ValueError: not a worker record.
        """
        document = json.loads(payload)
        if not isinstance(document, dict) or "worker_id" not in document:
            raise ValueError("a worker record must be a JSON object with a worker_id")
        known = {name: document.pop(name) for name in _NAMES if document.get(name) is not None}
        seen_at = known.get("last_seen_at") or document.get("heartbeat_at") or known.get("updated_at") or 0.0
        known["last_seen_at"] = seen_at
        known.setdefault("updated_at", seen_at)
        known.setdefault("instance_id", "")
        known.setdefault("tags", [])
        known["state"] = WorkerState(known.get("state", WorkerState.IDLE.value))
        extra = {name: value for name, value in document.items() if name not in _DERIVED and name not in _NAME_SET}
        return cls(**known, extra=extra)


_NAMES = tuple(item.name for item in fields(WorkerRecord) if item.name != "extra")
_NAME_SET = frozenset(_NAMES)
_DERIVED = frozenset({"last_heartbeat_at", "heartbeat_at"})


def effective_state(state: WorkerState, last_seen_at: float, now: float, timeout_sec: float) -> WorkerState:
    """Derive the state that a reader shows: a silent worker is DISCONNECTED, a stopped one stays stopped."""
    if state in (WorkerState.RUNNING, WorkerState.IDLE) and now - last_seen_at > timeout_sec:
        return WorkerState.DISCONNECTED
    return state
