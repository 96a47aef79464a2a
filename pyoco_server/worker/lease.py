"""A delivered job in the hands of a worker, who alone may end it or hand it back as long as the lease lasts.

Source: design, section 5.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from pyoco_server.bridge.deliveries import Deliveries
from pyoco_server.bridge.messages import Delivery
from pyoco_server.errors import BusError, BusUnavailable, PyocoServerError
from pyoco_server.worker.sentinel import Sentinel

logger = logging.getLogger(__name__)

#: How long a job waits that cannot be begun now.
HAND_BACK_SEC = 2.0


class Lease:
    """Keeps a delivery in progress for as long as the ``with`` block lasts.

    :param max_deliver: how often the queue hands a job out.
    """

    def __init__(self, deliveries: Deliveries, delivery: Delivery, max_deliver: int, sentinel: Sentinel) -> None:
        self._deliveries = deliveries
        self._sentinel = sentinel
        self.delivery = delivery
        #: Whether the queue will not hand the job out again: then there is nobody to hand it back to.
        self.is_last = delivery.num_delivered >= max_deliver

    def __enter__(self) -> Lease:
        self._sentinel.watch_lease(self.delivery)
        self._deliveries.keep_in_progress(self.delivery)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._release()

    def hand_back(self, delay_sec: float = HAND_BACK_SEC) -> None:
        """Have the job delivered again; while NATS is away the end of the lease does that."""
        # First of all: a tick would take it for work in progress.
        self._release()
        if self.is_last:
            count = self.delivery.num_delivered
            logger.error("a job was delivered %d times without an end; a gateway will end its run", count)
            return
        with contextlib.suppress(PyocoServerError):
            self._deliveries.nak(self.delivery, delay_sec)

    def _release(self) -> None:
        self._sentinel.forget_lease(self.delivery)
        self._deliveries.release(self.delivery)

    def settle(self, work: Callable[[], object]) -> None:
        """End a job that is not to be executed; while NATS is in trouble it is handed back and comes again."""
        try:
            work()
        except (BusError, BusUnavailable) as exc:
            logger.warning("a job cannot be ended at the moment: %s", exc)
            self.hand_back()
