"""A delivered job in the hands of a worker, who alone may end it or hand it back as long as the lease lasts.

Source: design, section 5.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from pyoco_server.bridge.messages import Delivery
from pyoco_server.errors import BusError, BusUnavailable, PyocoServerError
from pyoco_server.operations.claim import Claims
from pyoco_server.operations.hand_back import hand_back_unused
from pyoco_server.stores.queue import Queue
from pyoco_server.worker.sentinel import Sentinel

logger = logging.getLogger(__name__)

#: How long a job waits that cannot be begun now.
HAND_BACK_SEC = 2.0


class Lease:
    """Keeps a delivery in progress, from now on to the end of its ``with`` block or until it is handed back."""

    def __init__(self, queue: Queue, claims: Claims, sentinel: Sentinel, delivery: Delivery) -> None:
        self._queue = queue
        self._claims = claims
        self._sentinel = sentinel
        self.delivery = delivery
        #: Whether the queue will not hand the job out again: then there is nobody to hand it back to.
        self.is_last = queue.is_last(delivery)
        sentinel.watch_lease(delivery)
        queue.deliveries.keep_in_progress(delivery)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._release()

    def hand_back(self, delay_sec: float = HAND_BACK_SEC) -> None:
        """Have the job delivered again after a while, unless this was its last time; while NATS is away the end of the
        lease does that."""
        # First of all: a tick would take it for work in progress.
        self._release()
        if self.is_last:
            count = self.delivery.num_delivered
            logger.error("a job was delivered %d times without an end; a gateway will end its run", count)
            return
        with contextlib.suppress(PyocoServerError):
            self._queue.deliveries.nak(self.delivery, delay_sec)

    def hand_back_unused(self) -> None:
        """Have a job that was not begun here delivered again at once, be this its last time."""
        self._release()
        try:
            hand_back_unused(self._queue, self._claims, self.delivery)
        except PyocoServerError as exc:
            logger.warning("a job cannot be handed back: %s", exc)

    def _release(self) -> None:
        self._sentinel.forget_lease(self.delivery)
        self._queue.deliveries.release(self.delivery)

    def settle(self, work: Callable[[], object]) -> None:
        """End a job that is not to be executed; while NATS is in trouble it is handed back and comes again."""
        try:
            work()
        except (BusError, BusUnavailable) as exc:
            logger.warning("a job cannot be ended at the moment: %s", exc)
            self.hand_back()
