"""Runs that somebody follows: who does, and what is known of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

from pyoco_server.states import RunStatus


@dataclass(frozen=True)
class KnownRun:
    """A run as the read model has it.

    :param text: its snapshot without task records, in JSON; ``None`` when that is too large to be kept here.
    """

    text: str | None
    revision: int
    status: RunStatus


class Listener(Protocol):
    """Who follows a run."""

    def notify(self) -> None:
        """Take note that it has changed, or that there is another reason to look; must not block."""


class Watch:
    """Waits for changes of one run; made by :meth:`ReadModel.watch`."""

    def __init__(self) -> None:
        self._changed = threading.Event()

    def wait(self, timeout_sec: float) -> bool:
        """Wait for a change since the last call; also ``True`` when the watch was woken for another reason."""
        changed = self._changed.wait(timeout_sec)
        self._changed.clear()
        return changed

    def notify(self) -> None:
        self._changed.set()


class WatchedRun:
    """A run for as long as somebody follows it.

    :ivar found: in a tuple, what the model has of it, ``None`` for nothing; without the tuple it was not looked up.
    """

    def __init__(self) -> None:
        self.listeners: set[Listener] = set()
        self.found: tuple[KnownRun | None] | None = None
