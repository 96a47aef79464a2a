"""The threads for requests, each of which begins when all others have work: few gateways ever need them all."""

from __future__ import annotations

import logging
import threading
from typing import Any

from waitress.task import ThreadedTaskDispatcher

from pyoco_server.logs import RateLimit

logger = logging.getLogger(__name__)


class Pool(ThreadedTaskDispatcher):
    """Waitress's threads for requests.

    :param max_threads: so many at most; what comes beyond that waits.
    """

    def __init__(self, max_threads: int) -> None:
        super().__init__()
        self._max_threads = max_threads
        self._adding = threading.Lock()
        self._log_limit = RateLimit()

    def add_task(self, task: Any) -> None:
        with self._adding:
            waiting_count, count = len(self.queue), len(self.threads)
            # In this order: a thread counts as active before it takes a task out of the queue.
            if waiting_count >= count - self.active_count and count < self._max_threads:
                self._grow()
            super().add_task(task)

    def _grow(self) -> None:
        known = set(self.threads)
        try:
            self.set_thread_count(len(known) + 1)
        except RuntimeError as exc:
            if not known:
                raise
            # Waitress has counted it already.
            self.threads.intersection_update(known)
            if self._log_limit.allows("threads"):
                logger.warning(
                    "a request waits for one of %d threads, because this machine allows no more: %s. "
                    "Raise the limit of processes or of threads (ulimit -u, or pids of the container).",
                    len(known),
                    exc,
                )

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> Any:
        self._max_threads = 0
        return super().shutdown(cancel_pending, timeout)
