"""Ending a run: terminal snapshot, dead letter, acknowledgement, in this order, each safe to repeat.

Source: contract, section 2, "Order of writes" and "Dead letters".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyoco_server.bridge.deliveries import Deliveries
from pyoco_server.bridge.messages import Delivery
from pyoco_server.contract import deadletters
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import BusError, BusUnavailable, FlowNotFound, InvalidJob, SnapshotTooLarge
from pyoco_server.logs import LogId
from pyoco_server.operations.invalid_jobs import fail_run, report_invalid
from pyoco_server.states import RunStatus
from pyoco_server.stores.deadletters import DeadLetterStore
from pyoco_server.stores.runs import RunStore, StoredRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How the execution of a run ended.

    :param reason: of a failed run, the reason of its dead letter.
    :param error: of a failed run, the text that is shown.
    :param is_cut: whether values in the records were cut.
    :param resume_note: why finished tasks were executed again, where they were.
    :param last_lines: of a failed run, the end of what it printed.
    """

    status: RunStatus
    reason: str | None = None
    error: str | None = None
    tasks: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    is_cut: bool = False
    resume_note: str | None = None
    last_lines: str | None = None

    def applied_to(self, snapshot: Snapshot, now: float, *, is_final: bool = False) -> Snapshot:
        """Give the snapshot of a run that ends so: terminal, or as its policy has it tried again.

        :param is_final: whether it is not tried again, whatever its policy says.
        """
        status = self.status
        if snapshot.status is RunStatus.CANCELLING and status is not RunStatus.COMPLETED:
            status = RunStatus.CANCELLED
        progressed = snapshot.progressed(
            self.tasks, self.records, is_cut=self.is_cut, now=now, resume_note=self.resume_note
        )
        is_final = is_final or self.reason in deadletters.FINAL or not snapshot.may_fail_again
        if status is RunStatus.FAILED and not is_final:
            return progressed.failed_for_now(error=self.error, now=now)
        return progressed.ended(status, error=self.error, now=now, last_lines=self.last_lines)


class Finish:
    """Ends runs.

    :param worker_id: for whom; ``None`` = for whichever worker holds the run.
    """

    def __init__(
        self,
        deliveries: Deliveries,
        runs: RunStore,
        dead_letters: DeadLetterStore,
        *,
        worker_id: str | None,
    ) -> None:
        self._deliveries = deliveries
        self._runs = runs
        self._dead_letters = dead_letters
        self._worker_id = worker_id

    def finish(self, stored: StoredRun, delivery: Delivery, outcome: Outcome) -> StoredRun | None:
        """Write the terminal snapshot, then the dead letter, then acknowledge.

        A run that failed and whose policy has it tried again becomes PENDING instead, without a dead letter.

        :return: the run as written; ``None`` when another worker has taken the run over meanwhile: then its
            job belongs to that worker, and nothing is acknowledged.
        :raises BusUnavailable: no answer; safe to repeat with the same arguments.
        :raises RunNotFound: the run has been removed.
        """
        ended = self._write_end(stored, outcome)
        if ended is None:
            logger.warning("the run was taken over by another worker", extra={"run_id": stored.snapshot.run_id})
            return None
        if ended.snapshot.status is RunStatus.FAILED:
            self._dead_letters.publish_failed(ended.snapshot, outcome.reason or deadletters.EXECUTION_ERROR)
        self._acknowledge(delivery)
        _log_failure(ended.snapshot, outcome)
        return ended

    def drop(self, stored: StoredRun | None, delivery: Delivery) -> None:
        """Acknowledge a job whose run is over, after completing what its worker may have left undone."""
        if stored is not None and _was_failed_by(delivery, stored.snapshot):
            self._dead_letters.publish_failed(stored.snapshot, deadletters.reason_of(stored.snapshot.error))
        self._acknowledge(delivery)

    def reject(self, delivery: Delivery, error: InvalidJob, tag: str) -> None:
        """Take a job that cannot be read out of the queue, and fail its run where there is one."""
        report_invalid(self._runs, self._dead_letters, delivery, error, worker_id=self._worker_id)
        self._deliveries.term(delivery, deadletters.INVALID_JOB)
        logger.error(
            "a queued job cannot be read: %s",
            error,
            extra={"err_id": error.err_id, "reason": deadletters.INVALID_JOB, "tag": tag},
        )

    def give_up(self, run_id: str, delivery: Delivery, reason: str, error: str) -> None:
        """End a run that no worker can begin: delivered for the last time, or too large to be claimed."""
        ended = fail_run(self._runs, run_id, delivery.seq, error)
        if ended is not None and _was_failed_by(delivery, ended):
            self._dead_letters.publish_failed(ended, reason)
        self._acknowledge(delivery)

    def _acknowledge(self, delivery: Delivery) -> None:
        """Take the job of a run that is over out of the queue; where that fails it comes again, and is dropped."""
        try:
            self._deliveries.ack(delivery)
        except (BusError, BusUnavailable) as exc:
            logger.warning("a job that is done cannot be acknowledged, and will come again: %s", exc)

    def _write_end(self, stored: StoredRun, outcome: Outcome) -> StoredRun | None:
        claim = stored.snapshot
        try:
            ended = self._runs.change(stored, lambda snapshot: _ended(snapshot, claim, outcome))
        except SnapshotTooLarge as exc:
            too_large = Outcome(RunStatus.FAILED, deadletters.EXECUTION_ERROR, str(exc), is_cut=True)
            # For good: what is reduced has lost the parameters for another attempt.
            ended = self._runs.change(
                stored, lambda snapshot: _ended(snapshot.reduced(), claim, too_large, is_final=True)
            )
        if ended is not None:
            return ended
        # A former try may have written it, and then failed at what comes after.
        current = self._runs.get(claim.run_id)
        is_written = current.snapshot.status.is_terminal or current.snapshot.waits_for_retry
        return current if is_written and current.snapshot.is_of(claim) else None


def _ended(snapshot: Snapshot, claim: Snapshot, outcome: Outcome, *, is_final: bool = False) -> Snapshot | None:
    """Give the run with its end; ``None`` where it is not this claim's any more."""
    return outcome.applied_to(snapshot, time.time(), is_final=is_final) if snapshot.is_held_by(claim) else None


def _log_failure(snapshot: Snapshot, outcome: Outcome) -> None:
    """Say in the log what went wrong, where something did."""
    extra = {
        "run_id": snapshot.run_id,
        "flow_name": snapshot.flow_name,
        "tag": snapshot.tag,
        "reason": outcome.reason or deadletters.EXECUTION_ERROR,
        "err_id": FlowNotFound.err_id if outcome.reason == deadletters.FLOW_NOT_FOUND else LogId.RUN_FAILED,
    }
    if snapshot.status is RunStatus.FAILED:
        logger.error("a run failed: %s", snapshot.error, extra=extra)
    elif snapshot.waits_for_retry:
        logger.warning(
            "attempt %d of a run failed, and it is tried again: %s", snapshot.attempt, outcome.error, extra=extra
        )


def _was_failed_by(delivery: Delivery, snapshot: Snapshot) -> bool:
    """Say whether this job is the one with which the run failed, and so owes its dead letter."""
    return snapshot.status is RunStatus.FAILED and snapshot.job_seq == delivery.seq
