"""Hearing of the runs that were handed out over HTTP, until they end.

Source: contract, section 3, "pyoco's own client and worker".
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyoco_server.config import Config
from pyoco_server.contract import deadletters
from pyoco_server.contract.log_entries import last_lines
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import BusError, BusUnavailable, SnapshotTooLarge
from pyoco_server.logs import RateLimit
from pyoco_server.operations.finish import Finish, Outcome
from pyoco_server.states import RunStatus, TaskState
from pyoco_server.stores.logs import LogStore
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore, StoredRun

logger = logging.getLogger(__name__)

#: An entry of pyoco's worker holds all that a task has printed to a stream.
_LAST_ENTRIES = 20
_OPEN_TASKS = frozenset({TaskState.PENDING.value, TaskState.RUNNING.value})


@dataclass(frozen=True)
class Heartbeat:
    """What a worker tells of its run.

    :param tasks: state by task name; of the tasks that it names.
    :param records: task records by task name; of the tasks that it names.
    :param logs: what has been printed since its last heartbeat.
    """

    status: RunStatus
    tasks: Mapping[str, str]
    records: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    logs: Sequence[dict[str, Any]] = ()

    def end(self, status: RunStatus) -> RunStatus | None:
        """Say how the run has ended by this; ``None`` = it goes on.

        :param status: of the run as it is stored.
        """
        if self.status.is_terminal:
            return self.status
        # pyoco leaves a run at that whose cancel it heard of in the last task.
        is_left = self.status is status is RunStatus.CANCELLING and _OPEN_TASKS.isdisjoint(self.tasks.values())
        return RunStatus.CANCELLED if is_left else None

    def outcome(self, snapshot: Snapshot, status: RunStatus, reason: str | None, error: str | None) -> Outcome:
        """Give an end of the run, with all that is known of its tasks."""
        return Outcome(
            status,
            reason,
            error,
            {**snapshot.tasks, **self.tasks},
            {**snapshot.task_records, **self.records},
            snapshot.task_records_truncated,
            snapshot.resume_note,
        )

    def progressed(self, snapshot: Snapshot, now: float) -> Snapshot:
        """Give the snapshot of the run with what is new."""
        return snapshot.progressed(
            {**snapshot.tasks, **self.tasks},
            {**snapshot.task_records, **self.records},
            is_cut=snapshot.task_records_truncated,
            now=now,
            resume_note=snapshot.resume_note,
        )

    @property
    def error(self) -> str:
        """The error of the first task that failed."""
        failed = [record for record in self.records.values() if record.get("state") == TaskState.FAILED.value]
        errors = [str(record["error"]) for record in failed if record.get("error")]
        return errors[0] if errors else "The worker reported that the run failed, and no task's error."


class Heartbeats:
    """Takes what workers tell, and ends the runs that have come to an end or take too long.

    :param written: called with the revision of each write.
    """

    def __init__(
        self,
        queue: Queue,
        runs: RunStore,
        logs: LogStore,
        finish: Finish,
        config: Config,
        *,
        written: Callable[[int], None],
    ) -> None:
        self._queue = queue
        self._runs = runs
        self._logs = logs
        self._finish = finish
        self._config = config
        self._written = written
        self._log_limit = RateLimit()

    def take(self, run_id: str, beat: Heartbeat) -> bool:
        """Take what a worker tells of its run, and renew its lease.

        A heartbeat does not say who sends it; a run that no worker holds which asks over HTTP is left as it is.

        :return: whether the worker is to stop: somebody cancelled the run, or it is not this worker's any more.
        :raises RunNotFound: there is no such run.
        :raises BusUnavailable: no answer; safe to repeat.
        """
        stored = self._runs.get(run_id)
        if stored.snapshot.lease_reply is None:
            return not beat.status.is_terminal
        # First of all, so that who sees the end of the run finds all that it printed.
        self._keep_output(stored.snapshot, beat)
        end = beat.end(stored.snapshot.status)
        if end is None:
            return self._go_on(stored, beat)
        if end is RunStatus.FAILED:
            outcome = beat.outcome(stored.snapshot, end, deadletters.EXECUTION_ERROR, beat.error)
            self._end(stored, replace(outcome, last_lines=self._last_lines(run_id)))
        else:
            self._end(stored, beat.outcome(stored.snapshot, end, None, None))
        return False

    def end_overdue(self, run_id: str) -> bool:
        """End the attempt of a run when its time has passed; its worker is told to stop when it is heard of.

        :return: whether it has.
        :raises RunNotFound: there is no such run.
        :raises BusUnavailable: no answer; safe to repeat.
        """
        stored = self._runs.get(run_id)
        snapshot = stored.snapshot
        if snapshot.timeout_at is None or snapshot.timeout_at > self._runs.server_time():
            return False
        limit_sec = self._config.time_limit_sec(snapshot.timeout_sec)
        error = f"{deadletters.TIMEOUT}: the run took longer than its {limit_sec:g} s."
        beat = Heartbeat(snapshot.status, {})
        return self._end(stored, beat.outcome(snapshot, RunStatus.FAILED, deadletters.TIMEOUT, error))

    def _go_on(self, stored: StoredRun, beat: Heartbeat) -> bool:
        now, lease_until = time.time(), self._runs.server_time() + self._config.poll_lease_sec

        def intent(snapshot: Snapshot) -> Snapshot | None:
            if not snapshot.is_held_by(stored.snapshot):
                return None
            return replace(beat.progressed(snapshot, now), lease_until=lease_until)

        try:
            changed = self._runs.change(stored, intent)
        except SnapshotTooLarge as exc:
            self._end(stored, beat.outcome(stored.snapshot, RunStatus.FAILED, deadletters.EXECUTION_ERROR, str(exc)))
            return True
        if changed is None:
            return True
        self._written(changed.revision)
        return changed.snapshot.status is RunStatus.CANCELLING

    def _end(self, stored: StoredRun, outcome: Outcome) -> bool:
        ended = self._finish.finish(stored, self._queue.leased(stored.snapshot), outcome)
        if ended is None:
            return False
        self._written(ended.revision)
        return True

    def _last_lines(self, run_id: str) -> str | None:
        try:
            return last_lines(
                "".join(str(entry.fields["text"]) for entry in self._logs.read(run_id, count=_LAST_ENTRIES).entries)
            )
        except (BusError, BusUnavailable):
            return None

    def _keep_output(self, snapshot: Snapshot, beat: Heartbeat) -> None:
        """Store what was printed; that must not keep the run itself from going on."""
        try:
            self._logs.append(snapshot.run_id, snapshot.attempt, beat.logs)
        except (BusError, BusUnavailable) as exc:
            if self._log_limit.allows("output"):
                logger.warning("what a run printed cannot be kept: %s", exc, extra={"run_id": snapshot.run_id})
