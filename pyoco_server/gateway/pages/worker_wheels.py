"""The wheels of a worker, as its record tells of them; other programs may have stored anything there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyoco_server.gateway.pages.marks import Mark, sync_mark
from pyoco_server.gateway.pages.rows import name_of
from pyoco_server.operations.attention import WorkerView

#: What a page shows of an error or a reason.
_MAX_ERROR_CHARS = 2_000


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


def wheel_sync(view: WorkerView) -> WheelSync:
    """Read what a worker's record has of wheels."""
    stored = view.wheel_sync
    installed = [_installed(entry) for entry in view.wheel_entries("installed_wheels")]
    count = stored.get("selected_count")
    return WheelSync(
        mark=sync_mark(stored.get("last_result")) if view.syncs_wheels else None,
        tried_at=stored.get("last_attempt_at"),
        succeeded_at=stored.get("last_success_at"),
        error=(view.wheel_sync_error or "")[:_MAX_ERROR_CHARS],
        count=max(count if isinstance(count, int) else 0, len(installed)),
        installed=installed,
        skipped=[_passed_over(entry, "reason") for entry in view.wheel_entries("skipped_incompatible")],
        missing=[_passed_over(entry, "requirement") for entry in view.wheel_entries("missing_requirements")],
    )


def _installed(entry: dict[str, Any]) -> Installed:
    return Installed(
        name_of(entry.get("package_name")),
        name_of(entry.get("package_version")),
        name_of(entry.get("wheel_name")),
        entry.get("installed_at"),
    )


def _passed_over(entry: dict[str, Any], key: str) -> PassedOver:
    return PassedOver(name_of(entry.get("wheel_name")), str(entry.get(key) or "")[:_MAX_ERROR_CHARS])
