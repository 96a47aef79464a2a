"""The thread that brings what runs print to NATS while they print it.

Source: design, section 6, "Output".
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from pyoco_server.config import Config
from pyoco_server.errors import BusError, BusUnavailable
from pyoco_server.logs import RateLimit
from pyoco_server.service import Service
from pyoco_server.stores.logs import LogStore
from pyoco_server.worker.run_log import RunLog

logger = logging.getLogger(__name__)

#: What a worker has read when it is killed is lost, so this is short; each time is a message for each run that printed.
_SEND_SEC = 0.5
#: What NATS does not take at once is left to the next turn: other logs wait meanwhile, or the end of the run.
_BUDGET_SEC = 1.0


class OutputSender(Service):
    """Sends the logs of all runs that go on, so that no slot waits for NATS while its runner prints."""

    def __init__(self, store: LogStore, config: Config, on_failure: Callable[[Service], None]) -> None:
        super().__init__("pyoco-output", on_failure)
        self._store = store
        self._config = config
        self._lock = threading.Lock()
        self._open: set[RunLog] = set()
        self._log_limit = RateLimit()

    @contextlib.contextmanager
    def log_of(self, run_id: str, attempt: int) -> Iterator[RunLog]:
        """Keep the log of an attempt that begins, and send what is left of it when the attempt is over."""
        log = RunLog(self._store, self._config, run_id, attempt)
        with self._lock:
            self._open.add(log)
        try:
            yield log
        finally:
            with self._lock:
                self._open.discard(log)
            log.close()
            self.send(log)

    def send(self, log: RunLog) -> bool:
        """Send what a log has, and say whether all of it is stored; the rest is left to the next call."""
        try:
            log.send(budget_sec=_BUDGET_SEC)
            return True
        except (BusError, BusUnavailable) as exc:
            if self._log_limit.allows("output"):
                logger.warning("what a run printed cannot be kept: %s", exc, extra={"run_id": log.run_id})
            return False

    def run(self) -> None:
        while not self.pause(_SEND_SEC):
            with self._lock:
                logs = list(self._open)
            for log in logs:
                self.send(log)
