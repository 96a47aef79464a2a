"""Holds a read model, so that a test can look at it while there is more to come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pyoco_server.readmodel.model import ReadModel
from tests.support.waiting import PATIENCE_SEC


class Brake:
    """Stops the thread that applies the changes of runs, after those among which one of a certain run is."""

    def __init__(self) -> None:
        self._is_reached = threading.Event()
        self._is_released = threading.Event()

    def notify(self) -> None:
        self._is_reached.set()
        assert self._is_released.wait(PATIENCE_SEC)

    def wait(self) -> None:
        """Wait until it stands still."""
        assert self._is_reached.wait(PATIENCE_SEC)

    def release(self) -> None:
        self._is_released.set()


@contextmanager
def brake_at(model: ReadModel, run_id: str) -> Iterator[Brake]:
    """Have a model stand still with the next change of a run, until it is released and at most for this block."""
    brake = Brake()
    model.add_watch(run_id, brake)
    try:
        yield brake
    finally:
        brake.release()
        model.remove_watch(run_id, brake)
