"""A place for one run at a time: a thread with a runner of its own.

Source: design, sections 5 and 6.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pyoco_server.config import Config
from pyoco_server.contract import deadletters
from pyoco_server.contract.jobs import Job
from pyoco_server.errors import BusError, BusUnavailable, InvalidJob, PyocoServerError, RunNotFound, SnapshotTooLarge
from pyoco_server.logs import LogId
from pyoco_server.operations.claim import BEHIND_TICK_SEC, Claim, Claims, Verdict
from pyoco_server.operations.finish import Finish, Outcome
from pyoco_server.service import Service
from pyoco_server.states import RunStatus
from pyoco_server.stores.artifacts import ArtifactStore
from pyoco_server.stores.runs import RunHints, RunStore, StoredRun
from pyoco_server.worker.equipment import Equipment
from pyoco_server.worker.execution import PATIENCE_SEC, Execution, HandedBack, LostRun
from pyoco_server.worker.lease import HAND_BACK_SEC, Lease
from pyoco_server.worker.nursery import Nursery
from pyoco_server.worker.output_sender import OutputSender
from pyoco_server.worker.registry import Registry
from pyoco_server.worker.run_log import RunLog
from pyoco_server.worker.runner_link import RunnerLink
from pyoco_server.worker.scratch import Scratch
from pyoco_server.worker.wheelsync import WheelSync
from pyoco_server.worker.work import Work

logger = logging.getLogger(__name__)

_FINISH_PAUSE_SEC = 1.0


@dataclass(frozen=True)
class Tools:
    """What all slots of a worker share.

    :param must_stop: set when the time to let runs go on is over.
    """

    config: Config
    runs: RunStore
    artifacts: ArtifactStore
    run_hints: RunHints
    claims: Claims
    finish: Finish
    nursery: Nursery
    registry: Registry
    output: OutputSender
    must_stop: threading.Event
    scratch: Scratch
    wheels: WheelSync
    max_runs_per_child: int


class Slot(Service):
    """Executes the runs that it is given, one after the other.

    :param is_free: called when the slot can take a run: its runner has booted, and the run will find its folder.
    :param has_settled: called when a job that it was given is off its hands.
    """

    def __init__(
        self,
        name: str,
        tools: Tools,
        *,
        is_free: Callable[[Slot], None],
        has_settled: Callable[[], None],
        on_failure: Callable[[Service], None],
    ) -> None:
        super().__init__(name, on_failure)
        self._tools = tools
        self._is_free = is_free
        self._has_settled = has_settled
        self._given: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        #: Whether it has said that it is free, and was given nothing since.
        self._is_announced = False
        self._equipment = Equipment(tools.nursery, tools.scratch, tools.wheels, tools.max_runs_per_child, self)

    def give(self, work: Work) -> None:
        """Hand a job to this slot, which has said that it is free."""
        self._given.put(work)

    def wake(self) -> None:
        """Have the slot look whether it is to stop, or to import other wheels."""
        self._given.put(None)

    def run(self) -> None:
        self._equipment.order_successor()
        try:
            while self._equipment.wait() is not None:
                self._announce()
                # Meanwhile the next job is fetched.
                self._equipment.tidy()
                work = self._wait_for_work()
                if work is not None:
                    self._take(work)
        finally:
            self._hand_back_given()
            self._equipment.leave()

    def _announce(self) -> None:
        if not self._is_announced:
            self._is_announced = True
            self._is_free(self)

    def _wait_for_work(self) -> Work | None:
        """Wait for a job, and keep the runner's wheels up to date meanwhile; ``None`` = stop."""
        while True:
            work = self._given.get()
            if work is not None or self.is_stopping:
                return work
            self._equipment.follow_wheels()

    def _take(self, work: Work) -> None:
        """Deal with a job; whatever goes wrong, its lease ends with it and this slot goes on."""
        self._is_announced = False
        try:
            with work.lease as lease:
                try:
                    child = self._equipment.fitting_runner(is_last_chance=lease.is_last)
                    if child is None:
                        lease.hand_back_unused()
                    else:
                        work.run_id = self._do(lease, work.tag, child)
                except Exception:
                    logger.exception("a job cannot be dealt with", extra={"tag": work.tag})
                    lease.hand_back()
        finally:
            work.is_done.set()
            self._has_settled()

    def _do(self, lease: Lease, tag: str, child: RunnerLink) -> str | None:
        """Take a job from its delivery to its acknowledgement; give the id of the run when that was executed here."""
        delivery, finish, registry = lease.delivery, self._tools.finish, self._tools.registry
        try:
            job = Job.from_bytes(delivery.payload)
        except InvalidJob as exc:
            lease.settle(functools.partial(finish.reject, delivery, exc, tag))
            return None
        with registry.claiming(job.run_id) as is_ours:
            claim = self._claim(job, lease, child) if is_ours else None
            if claim is not None and claim.verdict is Verdict.EXECUTE:
                registry.run_begun(job.run_id)
        if claim is None:
            if not is_ours:
                lease.hand_back()
        elif claim.verdict is not Verdict.EXECUTE:
            lease.settle(functools.partial(finish.drop, claim.stored, delivery))
        elif claim.stored is not None and self._execute(job, claim.stored, lease, child):
            return job.run_id
        return None

    def _claim(self, job: Job, lease: Lease, child: RunnerLink) -> Claim | None:
        """Try to claim the run; ``None`` when its job has been dealt with or must wait.

        A last delivery waits here, because the queue would not hand the job out again.
        """
        is_first_look = lease.delivery.num_delivered == 1
        while True:
            try:
                claim = self._tools.claims.claim(
                    job, lease.delivery, time.time(), child.wheels.documents, is_first_look=is_first_look
                )
                if claim.verdict is not Verdict.WAIT:
                    return claim
                is_first_look = False
                delay_sec = self._tools.config.ack_progress_interval_sec + BEHIND_TICK_SEC
            except SnapshotTooLarge as exc:
                reason, error = deadletters.EXECUTION_ERROR, str(exc)
                give_up = self._tools.finish.give_up
                lease.settle(functools.partial(give_up, job.run_id, lease.delivery, reason, error))
                return None
            except (BusError, BusUnavailable) as exc:
                logger.warning("a run cannot be claimed at the moment: %s", exc, extra={"run_id": job.run_id})
                delay_sec = HAND_BACK_SEC
            if not lease.is_last:
                lease.hand_back(delay_sec)
                return None
            if self.pause(HAND_BACK_SEC):
                lease.hand_back_unused()
                return None

    def _execute(self, job: Job, stored: StoredRun, lease: Lease, child: RunnerLink) -> bool:
        """Execute a run, and say whether it has ended here."""
        tools = self._tools
        folder = self._equipment.begin_run()
        ended: StoredRun | None = None
        with tools.output.log_of(job.run_id, stored.snapshot.attempt) as log:
            execution = Execution(
                job, stored, child, log, tools.runs, tools.run_hints, tools.artifacts, tools.config, tools.must_stop
            )
            try:
                if not os.path.isdir(folder):
                    # It has waited for days, and somebody cleans the place where it lay: maybe all of the worker's.
                    folder = tools.scratch.new_folder()
                outcome = execution.run(folder)
                log.close()
                # First, so that who sees the end of the run finds all that it printed.
                self._send_rest(log, execution)
                if not self.is_stopping and self._equipment.is_ready_again(execution.is_child_reusable):
                    # Now, so that the next job is fetched while the end of this one is written.
                    self._announce()
                ended = self._finish(execution, lease, outcome)
            except LostRun:
                logger.warning("a run is not this worker's any more", extra=execution.context)
            except HandedBack:
                logger.warning("a run is handed back because the worker stops", extra=execution.context)
                # First of all: the run may begin elsewhere at once.
                self._equipment.end_runner()
                execution.take_last_words()
                # Before that: who follows the log passes over what comes of an attempt after the next one has begun.
                log.close()
                tools.output.send(log)
                ended = self._leave_unfinished(execution, lease)
            finally:
                self._equipment.end_run(folder, is_runner_reusable=execution.is_child_reusable)
                tools.registry.run_ended(job.run_id, None if ended is None else ended.snapshot)
        return ended is not None

    def _finish(self, execution: Execution, lease: Lease, outcome: Outcome) -> StoredRun | None:
        """Write the end of a run; while NATS is away its result is kept here, for it would cost a second execution."""
        while True:
            try:
                return self._tools.finish.finish(execution.stored, lease.delivery, outcome)
            except RunNotFound as exc:
                raise LostRun from exc
            except (BusError, BusUnavailable) as exc:
                context = {**execution.context, "err_id": LogId.END_NOT_WRITTEN}
                logger.warning("the end of a run cannot be written yet: %s", exc, extra=context)
            # Others may be able to begin what this slot was given meanwhile.
            self._hand_back_given()
            if self._tools.must_stop.wait(_FINISH_PAUSE_SEC):
                raise HandedBack

    def _send_rest(self, log: RunLog, execution: Execution) -> None:
        """Send what is left of a log, as long as NATS is away, or as one waits for what it alone does not take.

        :raises LostRun: the run belongs to another worker now.
        """
        began_at = time.monotonic()
        while not self._tools.output.send(log):
            if self._tools.must_stop.wait(_FINISH_PAUSE_SEC):
                return
            execution.give_sign_of_life()
            if execution.is_snapshot_alone_taken(began_at):
                text = "a run ends before its log is kept: NATS has taken nothing of it for %g s"
                logger.warning(text, PATIENCE_SEC, extra=execution.context)
                return

    def _leave_unfinished(self, execution: Execution, lease: Lease) -> StoredRun | None:
        """Hand a run back whose worker stops, or fail it where its job would not be delivered again."""
        if not lease.is_last:
            # Else the registry has to say first that this worker has stopped.
            lease.hand_back(0.0 if execution.release() else HAND_BACK_SEC)
            return None
        count = lease.delivery.num_delivered
        error = f"{deadletters.MAX_DELIVERIES}: the job was delivered {count} times, and its last worker stops."
        outcome = execution.outcome(RunStatus.FAILED, deadletters.MAX_DELIVERIES, error)
        with contextlib.suppress(PyocoServerError):
            return self._tools.finish.finish(execution.stored, lease.delivery, outcome)
        return None

    def _hand_back_given(self) -> None:
        """Hand back what was given and is not begun; nothing more is given before the next announcement."""
        while not self._given.empty():
            work = self._given.get()
            if work is not None:
                self._is_announced = False
                work.hand_back()
