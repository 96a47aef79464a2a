"""What goes from the consumer to a slot, and who waits for what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from pyoco_server.errors import PyocoServerError
from pyoco_server.service import Deadline
from pyoco_server.worker.lease import Lease


@dataclass
class Work:
    """A delivered job on its way to a slot, with its lease.

    :ivar is_done: set when the slot has no more to do with it.
    :ivar run_id: of the run that the slot has executed; ``None`` when the job went another way.
    """

    lease: Lease
    tag: str
    is_done: threading.Event = field(default_factory=threading.Event)
    run_id: str | None = None

    def hand_back(self) -> None:
        """Have the job delivered again: nothing of it was begun here."""
        self.lease.hand_back_unused()
        self.is_done.set()


class OneRun:
    """Somebody's wait for one run.

    :param timeout_sec: how long to wait for it, from the moment on when a slot can take it.
    :param on_end: called when there is nothing more to wait for, on any thread.
    :ivar run_id: the run, when it has been executed.
    :ivar trouble: why no job could be fetched when the time was over.
    """

    def __init__(self, timeout_sec: float, on_end: Callable[[], None]) -> None:
        self._timeout_sec = timeout_sec
        self._on_end = on_end
        self._patience: Deadline | None = None
        self.run_id: str | None = None
        self.trouble: PyocoServerError | None = None

    @property
    def patience(self) -> Deadline:
        """The time that is left; it runs from the first look at it."""
        self._patience = self._patience or Deadline(self._timeout_sec)
        return self._patience

    def end(self) -> None:
        self._on_end()
