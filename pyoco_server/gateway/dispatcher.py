"""The gateway's housekeeping thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from pyoco_server.errors import BusError, BusUnavailable, SnapshotTooLarge, Unavailable
from pyoco_server.logs import RateLimit
from pyoco_server.operations.janitor import Janitor
from pyoco_server.operations.retention import Retention
from pyoco_server.operations.retry import Retries
from pyoco_server.operations.sweep import MIN_AGE_SEC, Sweep
from pyoco_server.operations.wheels import WheelRegistry
from pyoco_server.operations.worker_registry import WorkerRetirement
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.service import Service
from pyoco_server.stores.storage import StorageLook

logger = logging.getLogger(__name__)

#: How often it is looked whether the connection and the read model are in order.
_LOOK_SEC = 0.5
#: How often the queue is cleaned, and what is older than runs are kept.
_CLEANING_SEC = 5.0
#: How often it is looked for what uploads and deletes of wheels have left behind.
_WHEELS_SEC = 600.0
#: How often it is looked whether anything is nearly full.
_STORAGE_SEC = 15.0
#: When a duty that failed is tried again.
_RETRY_SEC = 3.0


@dataclass
class _Duty:
    """Something to be done again and again.

    :param due_at: when next, ``time.monotonic()``.
    """

    do: Callable[[], object]
    period_sec: float
    due_at: float = 0.0


class Dispatcher(Service):
    """Repairs half-made submissions, queues failed runs again that are due, ends the runs of jobs that were delivered
    too often, has ended runs expire, drops workers that are long gone and what uploads and deletes of wheels have left
    behind, looks whether NATS is nearly full, and makes again what has vanished from it.

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
        storage: StorageLook,
        on_failure: Callable[[Service], None],
    ) -> None:
        super().__init__("pyoco-dispatcher", on_failure)
        self._bus = bus
        self._config = config
        self._model = model
        #: Comes first: the others need what it makes.
        self._restoration = _Duty(self._restore_resources, MIN_AGE_SEC)
        self._duties = [
            _Duty(lambda: retries.queue_due(lambda: self.is_stopping), _LOOK_SEC),
            _Duty(lambda: sweep.sweep(time.time(), lambda: self.is_stopping), MIN_AGE_SEC),
            _Duty(lambda: retirement.remove_old(time.time()), MIN_AGE_SEC),
            _Duty(janitor.clean, _CLEANING_SEC),
            _Duty(lambda: retention.stamp(self.pause), _LOOK_SEC),
            _Duty(retention.end_old, _CLEANING_SEC),
            _Duty(wheels.clean, _WHEELS_SEC),
            _Duty(storage.look, _STORAGE_SEC),
        ]
        self._log_limit = RateLimit()

    def run(self) -> None:
        while not self.is_stopping:
            if self._bus.has_ended:
                # nats-py has given up, so a new process must try: better than one that answers 503 for ever.
                raise BusUnavailable(f"NATS has ended the connection for good: {self._bus.last_error}")
            try:
                self._do_what_is_due()
            except Unavailable as exc:
                # As it would be for every other duty: none of them spends its time on finding that out.
                self._log_failure(exc)
            self.pause(_LOOK_SEC)

    def _do_what_is_due(self) -> None:
        if not self._bus.is_connected:
            return
        if not self._model.is_complete:
            self._restoration.due_at = 0.0
        self._do(self._restoration)
        for duty in self._duties:
            if self._model.is_complete and not self.is_stopping:
                self._do(duty)

    def _do(self, duty: _Duty) -> None:
        """Do it if it is due; where NATS refuses it or a run is over the cap, those behind it go on.

        :raises Unavailable: no answer.
        """
        if time.monotonic() < duty.due_at:
            return
        duty.due_at = time.monotonic() + _RETRY_SEC
        try:
            duty.do()
        except (BusError, SnapshotTooLarge) as exc:
            self._log_failure(exc)
        else:
            duty.due_at = time.monotonic() + duty.period_sec

    def _log_failure(self, exc: BusError | SnapshotTooLarge | Unavailable) -> None:
        if self._log_limit.allows("housekeeping"):
            logger.warning("the housekeeping was cut short and goes on later: %s", exc)

    def _restore_resources(self) -> None:
        created = ensure_resources(self._bus, self._config)
        if created:
            logger.warning("created again what had vanished from NATS: %s", ", ".join(created))
