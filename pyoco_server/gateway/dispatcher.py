"""The gateway's housekeeping thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from pyoco_server.errors import BusError, BusUnavailable, Unavailable
from pyoco_server.logs import RateLimit
from pyoco_server.operations.janitor import Janitor
from pyoco_server.operations.retention import Retention
from pyoco_server.operations.retry import Retries
from pyoco_server.operations.sweep import MIN_AGE_SEC, Sweep
from pyoco_server.operations.wheels import WheelRegistry
from pyoco_server.operations.worker_registry import WorkerRetirement
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.service import Service

logger = logging.getLogger(__name__)

#: How often it is looked whether the connection and the read model are in order.
_LOOK_SEC = 0.5
#: How often the queue is cleaned, and runs that have ended are given their expiry.
_CLEANING_SEC = 5.0
#: How often it is looked for what uploads and deletes of wheels have left behind.
_WHEELS_SEC = 600.0
#: When a sweep that failed is tried again.
_RETRY_SEC = 3.0


class Dispatcher(Service):
    """Repairs half-made submissions, queues failed runs again that are due, ends the runs of jobs that were delivered
    too often, has ended runs expire, drops workers that are long gone and what uploads and deletes of wheels have left
    behind, and makes again what has vanished from NATS.

    A NATS server that came back with an empty store is usable again without a restart of the gateway.
    """

    def __init__(
        self,
        bus: Bus,
        config: Config,
        model: ReadModel,
        sweep: Sweep,
        janitor: Janitor,
        retries: Retries,
        retention: Retention,
        retirement: WorkerRetirement,
        wheels: WheelRegistry,
        on_failure: Callable[[Service], None],
    ) -> None:
        super().__init__("pyoco-dispatcher", on_failure)
        self._bus = bus
        self._config = config
        self._model = model
        self._sweep = sweep
        self._janitor = janitor
        self._retention = retention
        self._retirement = retirement
        self._wheels = wheels
        self._retries = retries
        self._log_limit = RateLimit()

    def run(self) -> None:
        next_sweep = next_cleaning = next_wheels = time.monotonic()
        while not self.is_stopping:
            if self._bus.has_ended:
                # nats-py has given up, so a new process must try: better than one that answers 503 for ever.
                raise BusUnavailable(f"NATS has ended the connection for good: {self._bus.last_error}")
            is_due = time.monotonic() >= next_sweep
            try:
                if self._bus.is_connected and (is_due or not self._model.is_complete):
                    self._restore_resources()
                if self._bus.is_connected and self._model.is_complete:
                    self._retries.queue_due(lambda: self.is_stopping)
                if is_due and self._model.is_complete:
                    self._sweep.sweep(time.time(), lambda: self.is_stopping)
                    self._retirement.remove_old(time.time())
                    next_sweep = time.monotonic() + MIN_AGE_SEC
                if time.monotonic() >= next_cleaning and self._model.is_complete:
                    next_cleaning = time.monotonic() + _CLEANING_SEC
                    self._janitor.clean()
                    self._retention.apply()
                if time.monotonic() >= next_wheels and self._model.is_complete:
                    next_wheels = time.monotonic() + _WHEELS_SEC
                    self._wheels.clean()
            except (BusError, Unavailable) as exc:
                next_sweep = time.monotonic() + _RETRY_SEC
                if self._log_limit.allows("sweep"):
                    logger.warning("the housekeeping was cut short and goes on later: %s", exc)
            self.pause(_LOOK_SEC)

    def _restore_resources(self) -> None:
        created = ensure_resources(self._bus, self._config)
        if created:
            logger.warning("created again what had vanished from NATS: %s", ", ".join(created))
