"""The wheels of a worker, as its record tells of them; other programs may have stored anything there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.gateway.pages.marks import Mark, sync_mark
from pyoco_server.gateway.pages.rows import name_of

#: What a page shows of an error or a reason.
_MAX_ERROR_CHARS = 2_000

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Installed:
    """A wheel that runs of the worker import from."""

    package: str
    version: str
    file_name: str
    installed_at: Any


@dataclass(frozen=True)
class PassedOver:
    """A wheel that is not for this worker's interpreter, or a requirement that nothing there meets.

    :param what: the reason, or the requirement.
    """

    file_name: str
    what: str


@dataclass(frozen=True)
class WheelSync:
    """How a worker stands to the wheels of the registry.

    :param mark: how the last try went; ``None`` where sync is off.
    :param error: why it failed; empty where it did not.
    :param count: of its wheels; the lists hold no more than a record has room for.
    """

    mark: Mark | None
    tried_at: Any
    succeeded_at: Any
    error: str
    count: int
    installed: list[Installed]
    skipped: list[PassedOver]
    missing: list[PassedOver]


def wheel_sync(record: WorkerRecord) -> WheelSync:
    """Read what a record has of wheels."""
    stored: dict[str, Any] = record.wheel_sync if isinstance(record.wheel_sync, dict) else {}
    installed = _rows(stored, "installed_wheels", _installed)
    count = stored.get("selected_count")
    return WheelSync(
        mark=sync_mark(stored.get("last_result")) if stored.get("enabled") is True else None,
        tried_at=stored.get("last_attempt_at"),
        succeeded_at=stored.get("last_success_at"),
        error=str(stored.get("last_error") or "")[:_MAX_ERROR_CHARS],
        count=max(count if isinstance(count, int) else 0, len(installed)),
        installed=installed,
        skipped=_rows(stored, "skipped_incompatible", lambda entry: _passed_over(entry, "reason")),
        missing=_rows(stored, "missing_requirements", lambda entry: _passed_over(entry, "requirement")),
    )


def _rows(stored: dict[str, Any], key: str, read: Callable[[dict[str, Any]], _Row]) -> list[_Row]:
    entries = stored.get(key)
    return [read(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _installed(entry: dict[str, Any]) -> Installed:
    return Installed(
        name_of(entry.get("package_name")),
        name_of(entry.get("package_version")),
        name_of(entry.get("wheel_name")),
        entry.get("installed_at"),
    )


def _passed_over(entry: dict[str, Any], key: str) -> PassedOver:
    return PassedOver(name_of(entry.get("wheel_name")), str(entry.get(key) or "")[:_MAX_ERROR_CHARS])
