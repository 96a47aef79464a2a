"""The wheels that a runner can import.

Source: design, section 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # A worker starts its first runner before it has loaded what wheels and NATS take.
    from pyoco_server.contract.wheels import WheelName
    from pyoco_server.worker.wheel_folder import Unpacked


@dataclass(frozen=True)
class Selected:
    """A wheel that runners can import.

    :param wheel: what the registry calls it; the same bytes may have been unpacked under another name.
    :param nuid: of the object that the registry has.
    """

    unpacked: Unpacked
    wheel: WheelName
    nuid: str

    @property
    def name(self) -> str:
        return self.wheel.file_name

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others: the same bytes under another name are another wheel."""
        return self.unpacked.sha256, self.name


class WheelSet:
    """The wheels of a runner; they stay on disk for as long as this object lives.

    :param selected: ``None`` where wheel sync is off.
    """

    def __init__(self, selected: Sequence[Selected] | None) -> None:
        self.selected = tuple(selected or ())
        self._is_synced = selected is not None

    @property
    def key(self) -> tuple[str, ...]:
        """What two sets of the same wheels have in common."""
        return tuple(item.unpacked.sha256 for item in self.selected)

    @property
    def paths(self) -> list[str]:
        """The folders for ``sys.path``."""
        return [str(item.unpacked.path) for item in self.selected]

    @property
    def documents(self) -> list[dict[str, str]] | None:
        """What a run says of the code that it ran; ``None`` where wheel sync is off."""
        if not self._is_synced:
            return None
        return [
            {"name": item.wheel.package, "version": str(item.wheel.version), "sha256": item.unpacked.sha256}
            for item in self.selected
        ]


NO_WHEELS = WheelSet(None)
