"""The wheels that a run imports from, as its page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyoco_server.contract.runs import Snapshot
from pyoco_server.gateway.pages.rows import name_of


@dataclass(frozen=True)
class WheelView:
    """One wheel; a text that the snapshot lacks is empty."""

    name: str
    version: str
    sha256: str


def wheel_views(snapshot: Snapshot) -> list[WheelView] | None:
    """Give the wheels of a run; ``None`` where it has none to name: not begun, or by a worker without wheel sync."""
    wheels: Any = snapshot.wheels
    if not isinstance(wheels, list):
        return None
    return [_view(wheel) for wheel in wheels if isinstance(wheel, dict)]


def _view(wheel: dict[str, Any]) -> WheelView:
    return WheelView(name_of(wheel.get("name")), name_of(wheel.get("version")), name_of(wheel.get("sha256")))
