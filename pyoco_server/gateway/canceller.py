"""The gateway's thread that ends cancelled runs which nobody holds."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pyoco_server.errors import BusError, Unavailable
from pyoco_server.logs import RateLimit
from pyoco_server.operations.cancel import Cancellation
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.service import Service

logger = logging.getLogger(__name__)

_TURN_SEC = 0.25


class Canceller(Service):
    """Looks for such runs four times a second; several gateways need no agreement."""

    def __init__(self, cancellation: Cancellation, model: ReadModel, on_failure: Callable[[Service], None]) -> None:
        super().__init__("pyoco-canceller", on_failure)
        self._cancellation = cancellation
        self._model = model
        self._log_limit = RateLimit()

    def run(self) -> None:
        while not self.pause(_TURN_SEC):
            if not self._model.is_complete:
                continue
            try:
                self._cancellation.complete()
            except (BusError, Unavailable) as exc:
                if self._log_limit.allows("complete"):
                    logger.warning("cancelled runs cannot be ended at the moment: %s", exc)
