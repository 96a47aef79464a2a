"""The gateway's thread for runs that were handed out over HTTP.

Source: contract, section 3, "pyoco's own client and worker".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pyoco_server.bridge.deliveries import Deliveries
from pyoco_server.config import Config
from pyoco_server.errors import BusError, RunNotFound, SnapshotTooLarge, Unavailable
from pyoco_server.logs import RateLimit
from pyoco_server.operations.heartbeats import Heartbeats
from pyoco_server.readmodel.polled import PolledRuns
from pyoco_server.service import Service
from pyoco_server.stores.runs import RunStore

logger = logging.getLogger(__name__)

#: How often it is looked for runs that take too long.
_LOOK_SEC = 0.5


#: How often a lease is renewed before it would end, at least.
_TICKS_A_LEASE = 3


class LeaseKeeper(Service):
    """Keeps the jobs of all such runs in progress, whichever gateway handed them out, and ends those that take too
    long.

    The job of a worker that is silent for too long is left alone: the queue hands it out again, as that of any worker.
    Several gateways do the same, which the queue does not mind.
    """

    def __init__(
        self,
        config: Config,
        polled: PolledRuns,
        runs: RunStore,
        deliveries: Deliveries,
        heartbeats: Heartbeats,
        on_failure: Callable[[Service], None],
    ) -> None:
        super().__init__("pyoco-lease-keeper", on_failure)
        # Workers refuse an interval that is too long; a gateway also serves those that never see the setting.
        self._interval_sec = min(config.ack_progress_interval_sec, config.consumer_ack_wait_sec / _TICKS_A_LEASE)
        self._polled = polled
        self._runs = runs
        self._deliveries = deliveries
        self._heartbeats = heartbeats
        self._renew_at = 0.0
        self._log_limit = RateLimit()

    def run(self) -> None:
        while not self.pause(min(_LOOK_SEC, self._interval_sec)):
            if not self._polled.is_complete:
                continue
            try:
                self._look()
            except (BusError, Unavailable) as exc:
                if self._log_limit.allows("look"):
                    logger.warning("the runs of workers that ask over HTTP cannot be kept at the moment: %s", exc)

    def _look(self) -> None:
        leases = self._polled.leases()
        if not leases:
            return
        now = self._runs.server_time()
        if time.monotonic() >= self._renew_at:
            self._deliveries.renew([lease.lease_reply for lease in leases.values() if lease.lease_until > now])
            self._renew_at = time.monotonic() + self._interval_sec
        for run_id, lease in leases.items():
            if lease.timeout_at is not None and lease.timeout_at <= now:
                self._end_overdue(run_id)

    def _end_overdue(self, run_id: str) -> None:
        try:
            self._heartbeats.end_overdue(run_id)
        except (BusError, RunNotFound, SnapshotTooLarge) as exc:
            # This run's trouble alone: the others must not wait for it.
            if self._log_limit.allows("overdue"):
                logger.warning("a run that took longer than it may cannot be ended: %s", exc, extra={"run_id": run_id})
