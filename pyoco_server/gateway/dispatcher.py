"""The gateway's housekeeping thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pyoco_server.errors import BusError, Unavailable
from pyoco_server.operations.sweep import MIN_AGE_SEC, Sweep
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.service import Service

logger = logging.getLogger(__name__)

#: How often it is looked whether the model is complete after a start.
_WAIT_SEC = 0.5


class Dispatcher(Service):
    """Repairs half-made submissions every few seconds."""

    def __init__(self, model: ReadModel, sweep: Sweep, on_failure: Callable[[Service], None]) -> None:
        super().__init__("pyoco-dispatcher", on_failure)
        self._model = model
        self._sweep = sweep

    def run(self) -> None:
        while not self.is_stopping:
            if not self._model.is_complete:
                self.pause(_WAIT_SEC)
                continue
            try:
                self._sweep.sweep(time.time())
                self._sweep.sweep_old(time.time())
            except (BusError, Unavailable) as exc:
                logger.warning("the sweep was cut short and goes on later: %s", exc)
            self.pause(MIN_AGE_SEC)
