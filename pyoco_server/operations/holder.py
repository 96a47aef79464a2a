"""Who holds a run, and whether that worker is still there.

Source: design, section 5.
"""

from __future__ import annotations

from pyoco_server.contract.runs import Snapshot
from pyoco_server.states import RunStatus, WorkerState
from pyoco_server.stores.runs import RunStore, StoredRun
from pyoco_server.stores.workers import WorkerStore


class Holders:
    """Judges the holders of runs by the registry, by their leases and by their silence.

    :param disconnect_timeout_sec: silence after which a holder counts as gone.
    :param cancel_grace_sec: the same for one that asks over HTTP and whose run is to be cancelled: nobody can end it.
    """

    def __init__(
        self, runs: RunStore, workers: WorkerStore, *, disconnect_timeout_sec: float, cancel_grace_sec: float
    ) -> None:
        self._runs = runs
        self._workers = workers
        self._disconnect_timeout_sec = disconnect_timeout_sec
        self._cancel_grace_sec = cancel_grace_sec

    def is_gone(self, stored: StoredRun) -> bool:
        """Say whether nobody executes this run, the surest way to know first.

        :raises BusUnavailable: no answer; nothing is known.
        """
        snapshot = stored.snapshot
        if not snapshot.has_holder:
            return True
        if snapshot.lease_until is not None:
            return self._is_lease_over(stored, snapshot.lease_until)
        if snapshot.instance_id is not None and self._is_life_over(snapshot):
            return True
        return self._runs.silence_sec(stored) > self._disconnect_timeout_sec

    def _is_lease_over(self, stored: StoredRun, lease_until: float) -> bool:
        """Say whether a worker that asks over HTTP has been silent for too long; it has no record."""
        is_cancelling = stored.snapshot.status is RunStatus.CANCELLING
        is_given_up = is_cancelling and self._runs.silence_sec(stored) > self._cancel_grace_sec
        return is_given_up or self._runs.server_time() > lease_until

    def _is_life_over(self, snapshot: Snapshot) -> bool:
        """Say whether the registry knows that this life of the worker has ended."""
        record = self._workers.get(snapshot.worker_id or "")
        if record is None:
            return False
        is_same_life = record.instance_id == snapshot.instance_id
        return not is_same_life or record.lost_at is not None or record.state is WorkerState.STOPPED_GRACEFUL
