"""Completing what a gateway left half done: a snapshot is stored, but its job may not be queued.

Source: design, section 4.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

from pyoco_server.contract.names import DUPLICATE_WINDOW_SEC
from pyoco_server.errors import RunNotFound
from pyoco_server.operations.submit import job_of
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.states import RunStatus
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore
from pyoco_server.stores.workflows import WorkflowStore

logger = logging.getLogger(__name__)

#: A younger run may still be on its way from its snapshot to its job.
MIN_AGE_SEC = 15.0
#: How many run ids are remembered as queued; one costs about 150 bytes.
_QUEUED_LIMIT = 100_000


class Sweep:
    """Queues the jobs of runs that are PENDING and may have none.

    Publishing again is harmless while the server remembers the message id, and after that the claim makes a second
    copy harmless: so one publication per run and gateway is enough, and several gateways need no agreement.
    """

    def __init__(self, model: ReadModel, runs: RunStore, queue: Queue, workflows: WorkflowStore) -> None:
        self._model = model
        self._runs = runs
        self._queue = queue
        self._workflows = workflows
        self._lock = threading.Lock()
        self._queued: OrderedDict[str, None] = OrderedDict()

    def note_queued(self, run_id: str) -> None:
        """Remember that the job of this run is in the queue."""
        with self._lock:
            self._queued[run_id] = None
            if len(self._queued) > _QUEUED_LIMIT:
                self._queued.popitem(last=False)

    def sweep(self, now: float) -> int:
        """Queue the runs that are older than :data:`MIN_AGE_SEC` and that the server still recognises.

        :return: how many were published.
        :raises BusUnavailable: no answer; the next sweep goes on.
        """
        window = (now - DUPLICATE_WINDOW_SEC, now - MIN_AGE_SEC)
        return sum(self._publish(run_id) for run_id in self._candidates(*window))

    def sweep_old(self, now: float) -> int:
        """Queue the runs that are too old for the server's memory of message ids and not in the queue.

        There are some after a gateway's start, and after NATS was away for longer than that memory lasts. The queue
        is read first and each snapshot after it, so that a run which a worker takes meanwhile is not queued again.

        :return: how many were published.
        """
        candidates = self._candidates(0.0, now - DUPLICATE_WINDOW_SEC)
        if not candidates:
            return 0
        in_queue = set(self._queue.run_ids())
        for run_id in in_queue.intersection(candidates):
            self.note_queued(run_id)
        return sum(self._publish(run_id) for run_id in candidates if run_id not in in_queue)

    def _candidates(self, since: float, until: float) -> list[str]:
        pending = [run_id for run_id, at in self._model.pending_runs(until=until) if at >= since]
        with self._lock:
            return [run_id for run_id in pending if run_id not in self._queued]

    def _publish(self, run_id: str) -> bool:
        try:
            snapshot = self._runs.get(run_id).snapshot
        except RunNotFound:
            # Its submission was refused and withdrawn.
            self._model.forget(run_id)
            return False
        if snapshot.status is not RunStatus.PENDING or snapshot.origin is None:
            return False
        text = None
        if snapshot.workflow_yaml_sha256 is not None:
            text = self._workflows.get(snapshot.workflow_yaml_sha256)
            if text is None:
                logger.error("a run waits without a job, and its workflow is not kept", extra={"run_id": run_id})
                self.note_queued(run_id)
                return False
        self._queue.publish(job_of(snapshot, text))
        self.note_queued(run_id)
        logger.info("queued a run that may have had no job", extra={"run_id": run_id, "tag": snapshot.tag})
        return True
