"""A place for one run at a time: a thread with a runner of its own.

Source: design, sections 5 and 6.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pyoco_server.bridge.deliveries import Deliveries
from pyoco_server.bridge.messages import Delivery
from pyoco_server.config import Config
from pyoco_server.contract import deadletters
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import BusError, BusUnavailable, InvalidJob, PyocoServerError, SnapshotTooLarge
from pyoco_server.operations.claim import Claim, Claims, Verdict
from pyoco_server.operations.finish import Finish, Outcome
from pyoco_server.service import Deadline, Service
from pyoco_server.stores.runs import RunStore, StoredRun
from pyoco_server.worker.child import Child, ChildBootFailed
from pyoco_server.worker.execution import Execution, HandedBack, LostRun
from pyoco_server.worker.nursery import Nursery
from pyoco_server.worker.registry import Registry

logger = logging.getLogger(__name__)

_BOOT_SEC = 60.0
#: Waits between runners that cannot boot: the last one is repeated.
_BOOT_PAUSES_SEC = (1.0, 2.0, 5.0, 15.0, 30.0)
#: How long a job waits that cannot be begun now: its holder is alive, or NATS is in trouble.
_HAND_BACK_SEC = 2.0
_FINISH_PAUSE_SEC = 1.0


@dataclass(frozen=True)
class Work:
    """A delivered job on its way to a slot."""

    delivery: Delivery
    tag: str


@dataclass(frozen=True)
class Tools:
    """What all slots of a worker share.

    :param must_stop: set when the time to let runs go on is over.
    :param scratch_root: where each run gets a folder.
    """

    deliveries: Deliveries
    config: Config
    runs: RunStore
    claims: Claims
    finish: Finish
    nursery: Nursery
    registry: Registry
    must_stop: threading.Event
    scratch_root: str
    max_runs_per_child: int


class Slot(Service):
    """Executes the runs that it is given, one after the other.

    :param is_free: called when the slot can take a run: its runner has booted.
    """

    def __init__(
        self, name: str, tools: Tools, is_free: Callable[[Slot], None], on_failure: Callable[[Service], None]
    ) -> None:
        super().__init__(name, on_failure)
        self._tools = tools
        self._is_free = is_free
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._child: Child | None = None
        self._is_successor_ordered = False

    def give(self, work: Work) -> None:
        """Hand a job to this slot, which has said that it is free."""
        self._work.put(work)

    def wake(self) -> None:
        self._work.put(None)

    def run(self) -> None:
        self._order_successor()
        try:
            while not self.is_stopping:
                if self._child is None:
                    self._child = self._next_child()
                    continue
                self._is_free(self)
                work = self._work.get()
                if work is not None:
                    self._do(work, self._child)
        finally:
            self._hand_back_rest()
            if self._child is not None:
                self._child.leave()

    def _next_child(self) -> Child | None:
        """Wait for a runner that has booted; ``None`` when the worker stops."""
        pauses = itertools.chain(_BOOT_PAUSES_SEC, itertools.repeat(_BOOT_PAUSES_SEC[-1]))
        while not self.is_stopping:
            child = self._tools.nursery.take()
            self._is_successor_ordered = False
            if child is None:
                break
            try:
                child.wait_ready(Deadline(_BOOT_SEC))
                return child
            except ChildBootFailed as exc:
                child.kill()
                logger.error("a runner cannot boot: %s", exc, exc_info=True)
            self.pause(next(pauses))
            self._order_successor()
        return None

    def _order_successor(self) -> None:
        if not self._is_successor_ordered:
            self._tools.nursery.order()
            self._is_successor_ordered = True

    def _hand_back_rest(self) -> None:
        """Hand back what was given after the stop."""
        while not self._work.empty():
            work = self._work.get()
            if work is not None:
                self._hand_back(work.delivery, 0.0)

    def _do(self, work: Work, child: Child) -> None:
        """Take a job from its delivery to its acknowledgement."""
        delivery = work.delivery
        try:
            job = Job.from_bytes(delivery.payload)
            claim = self._claim(job, work)
        except InvalidJob as exc:
            self._settle(delivery, functools.partial(self._tools.finish.reject, delivery, exc, work.tag))
            return
        except SnapshotTooLarge as exc:
            reason, error = deadletters.EXECUTION_ERROR, str(exc)
            self._settle(delivery, functools.partial(self._tools.finish.give_up, job.run_id, delivery, reason, error))
            return
        except (BusError, BusUnavailable) as exc:
            logger.warning("a job cannot be claimed at the moment: %s", exc, extra={"tag": work.tag})
            self._hand_back(delivery)
            return
        if claim is not None and claim.stored is not None:
            self._execute(job, claim.stored, delivery, child)

    def _claim(self, job: Job, work: Work) -> Claim | None:
        """Claim the run; ``None`` when it is not to be executed and its job has been dealt with."""
        delivery = work.delivery
        claim = self._tools.claims.claim(job, delivery, time.time())
        if claim.verdict is Verdict.EXECUTE:
            return claim
        if claim.verdict is not Verdict.WAIT:
            self._tools.finish.drop(claim.stored, delivery)
        elif delivery.num_delivered >= self._tools.config.max_deliver:
            error = (
                f"{deadletters.MAX_DELIVERIES}: the job was delivered {delivery.num_delivered} times without an end."
            )
            self._tools.finish.give_up(job.run_id, delivery, deadletters.MAX_DELIVERIES, error)
        else:
            self._hand_back(delivery)
        return None

    def _execute(self, job: Job, stored: StoredRun, delivery: Delivery, child: Child) -> None:
        tools = self._tools
        child.runs_done += 1
        is_last = child.runs_done >= tools.max_runs_per_child
        if is_last:
            # Its successor boots while this runner works for the last time.
            self._order_successor()
        tools.deliveries.keep_in_progress(delivery)
        tools.registry.run_begun(job.run_id)
        scratch = tempfile.mkdtemp(prefix="run-", dir=tools.scratch_root)
        execution = Execution(job, stored, child, tools.runs, tools.config, tools.must_stop)
        ended: Snapshot | None = None
        try:
            outcome = execution.run(scratch)
            ended = self._finish(execution.stored, delivery, outcome)
        except LostRun:
            logger.warning("a run was taken over by another worker", extra=execution.context)
        except HandedBack:
            logger.warning("a run is handed back because the worker stops", extra=execution.context)
            self._end_child()
            # Until then the registry says that this worker has stopped, and the next one need not ask twice.
            self._hand_back(delivery)
        finally:
            tools.deliveries.release(delivery)
            if is_last or not execution.is_child_reusable:
                self._end_child()
            shutil.rmtree(scratch, ignore_errors=True)
            tools.registry.run_ended(job.run_id, ended)

    def _finish(self, stored: StoredRun, delivery: Delivery, outcome: Outcome) -> Snapshot | None:
        """Write the end of a run; while NATS is away its result is kept here, for it would cost a second execution."""
        while True:
            try:
                return self._tools.finish.finish(stored, delivery, outcome)
            except (BusError, BusUnavailable) as exc:
                context = {"run_id": stored.snapshot.run_id, "err_id": "ERR-PYOCO-0008"}
                logger.warning("the end of a run cannot be written yet: %s", exc, extra=context)
            if self._tools.must_stop.wait(_FINISH_PAUSE_SEC):
                raise HandedBack

    def _end_child(self) -> None:
        """Part with the runner."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            self._order_successor()

    def _hand_back(self, delivery: Delivery, delay_sec: float = _HAND_BACK_SEC) -> None:
        with contextlib.suppress(PyocoServerError):
            self._tools.deliveries.nak(delivery, delay_sec)

    def _settle(self, delivery: Delivery, work: Callable[[], object]) -> None:
        """End a job that is not to be executed; while NATS is in trouble it is handed back and comes again."""
        try:
            work()
        except (BusError, BusUnavailable) as exc:
            logger.warning("a job cannot be ended at the moment: %s", exc)
            self._hand_back(delivery)
