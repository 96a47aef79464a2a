"""One run in the hands of a worker: from its claim to what is written at its end.

Source: design, sections 5 and 6; contract, section 2, "Order of writes".
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import Any

from pyoco_server.config import Config
from pyoco_server.contract import deadletters
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runner_protocol import (
    ARTIFACTS_FOLDER,
    Begin,
    Cancel,
    Ended,
    Message,
    Planned,
    Saved,
    TaskChanged,
)
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import BusError, BusUnavailable, RunNotFound, SnapshotTooLarge
from pyoco_server.logs import LogId, RateLimit
from pyoco_server.operations.finish import Outcome
from pyoco_server.states import RunStatus, TaskState
from pyoco_server.stores.artifacts import ArtifactStore
from pyoco_server.stores.runs import RunHints, RunStore, StoredRun
from pyoco_server.worker.artifacts import ArtifactKeeper
from pyoco_server.worker.cancel_hints import CancelHints
from pyoco_server.worker.forced_end import Cause, ForcedEnd
from pyoco_server.worker.printed import Printed, log_printed
from pyoco_server.worker.run_log import RunLog
from pyoco_server.worker.runner_link import Died, RunnerLink
from pyoco_server.worker.trimmed_outputs import large_outputs, trimmed_outputs

logger = logging.getLogger(__name__)

#: Changes of tasks are written at most this often, so that a run of milliseconds costs two writes and not ten.
_WRITE_SPACING_SEC = 0.05
#: The first of them comes sooner: from then on the worker hears of a cancel. Most small runs have ended by then.
_FIRST_WRITE_SEC = 0.01
#: A sign of life that NATS does not take at once is left to the next one: the runner must not wait for it.
_PROGRESS_BUDGET_SEC = 1.0
#: How long a run that has ended waits for its files, or its log, while NATS takes its snapshot and nothing of them.
PATIENCE_SEC = 20.0
_OPEN_TASKS = frozenset({TaskState.PENDING.value, TaskState.RUNNING.value})


class LostRun(Exception):
    """Another worker has taken the run over: nothing of it is ours any more."""


class HandedBack(Exception):
    """The worker stops before the run has ended."""


class Execution:
    """Drives a runner through one run and keeps its snapshot up to date.

    :param stored: the run as it was claimed.
    :param log: takes what the run prints.
    :param must_stop: set when the worker's time to let runs go on is over.
    """

    def __init__(
        self,
        job: Job,
        stored: StoredRun,
        child: RunnerLink,
        log: RunLog,
        runs: RunStore,
        run_hints: RunHints,
        artifacts: ArtifactStore,
        config: Config,
        must_stop: threading.Event,
    ) -> None:
        self._job = job
        self._stored = stored
        self._child = child
        self._log = log
        self._runs = runs
        self._artifacts = artifacts
        self._config = config
        self._must_stop = must_stop
        self._log_limit = RateLimit()
        self._tasks: dict[str, str] = dict(stored.snapshot.tasks)
        #: At first those of tasks that an earlier attempt has finished.
        self._records: dict[str, dict[str, Any]] = dict(stored.snapshot.task_records)
        self._resume_note = stored.snapshot.resume_note
        self._is_cut = False
        #: By task, whether its record shows the output, and not a text about it.
        self._is_output_itself: dict[str, bool] = {}
        self._is_dirty = False
        self._written_at = time.monotonic()
        #: Since when every write was stored, ``time.monotonic()``; ``None`` when the last one was not.
        self._taken_since: float | None = self._written_at
        self._cancel_hints = CancelHints(run_hints, stored.snapshot.run_id, child.wake)
        self._limit_sec = config.time_limit_sec(job.timeout_sec)
        self._forced_end = ForcedEnd(child, grace_sec=config.cancel_grace_period_sec, time_limit_sec=self._limit_sec)
        self.is_child_reusable = False

    @property
    def stored(self) -> StoredRun:
        """The run as this worker last wrote it."""
        return self._stored

    def run(self, scratch: str) -> Outcome:
        """Execute the run.

        :param scratch: an empty folder, which becomes the run's working directory.
        :raises LostRun: the run belongs to another worker now.
        :raises HandedBack: the worker must stop.
        """
        snapshot = self._stored.snapshot
        self._keeper = ArtifactKeeper(
            self._artifacts,
            self._config,
            snapshot.run_id,
            snapshot.attempt,
            os.path.join(scratch, ARTIFACTS_FOLDER),
            self._complain,
        )
        try:
            outcome = self._drive(scratch)
            self._keep_rest(outcome)
            return outcome
        finally:
            self._cancel_hints.close()
            self._keeper.close()

    def _drive(self, scratch: str) -> Outcome:
        """Have the runner execute the run, and follow it to its end."""
        snapshot = self._stored.snapshot
        self._child.send(
            Begin(
                snapshot.run_id,
                snapshot.flow_name,
                self._job.params,
                self._job.workflow_yaml,
                scratch,
                self._config.max_run_snapshot_bytes,
                self._config.artifact_max_bytes,
                {name: record.get("output") for name, record in self._records.items()},
            )
        )
        while True:
            for message in self._child.receive(0.0 if self._keeper.is_ready else self._wait_sec()):
                outcome = self._take(message)
                if outcome is not None:
                    return outcome
            if self._must_stop.is_set():
                raise HandedBack
            self._keep_some()
            if self._forced_end.begin():
                self._forced_end_begun()
            if self._forced_end.complete():
                self.take_last_words()
                return self._broken_off("was killed by this worker")
            if self._wait_sec() <= 0:
                # Before the write, which meets what was stored until then.
                self._cancel_hints.listen()
                try:
                    self._write_progress()
                except SnapshotTooLarge as exc:
                    # What it would still do is lost, and its files must not change while they are kept.
                    self._child.kill()
                    self.take_last_words()
                    return self.outcome(RunStatus.FAILED, deadletters.EXECUTION_ERROR, str(exc))

    def _keep_some(self) -> None:
        """Keep a little more of what the run has saved."""
        task = self._keeper.step()
        if task is not None:
            self._mark(task)

    def _keep_rest(self, outcome: Outcome) -> None:
        """Keep what is left of the files of a run that has ended: whoever sees its end finds them.

        They wait for NATS only as long as the end of the run itself has to.
        """
        # The runner has no more to do with it.
        self._cancel_hints.close()
        self._keeper.run_ended()
        self._empty_keeper()
        # What is said of a file in a record may take the room of another record's output.
        while any([self._keeper.keep_output(task, value) for task, value in self._trimmed(outcome).items()]):
            self._empty_keeper()

    def _trimmed(self, outcome: Outcome) -> dict[str, Any]:
        large = large_outputs(outcome.records)
        if not large:
            # Nothing is encoded once more.
            return {}
        last = outcome.applied_to(self._stored.snapshot, time.time())
        found = trimmed_outputs(large, last, self._config.max_run_snapshot_bytes)
        return {task: output for task, output in found.items() if self._is_output_itself.get(task, True)}

    def _empty_keeper(self) -> None:
        while self._keeper.has_work:
            self._keep_some()
            if self._must_stop.is_set():
                self._give_up_files("the worker had to stop before")
            elif self.is_snapshot_alone_taken(self._keeper.stalled_since):
                self._give_up_files(f"NATS has taken nothing of it for {PATIENCE_SEC:g} s")
            elif self._wait_sec() <= 0:
                self.give_sign_of_life()
            elif not self._keeper.is_ready:
                self._must_stop.wait(self._wait_sec())

    def is_snapshot_alone_taken(self, refused_since: float | None) -> bool:
        """Say whether NATS has taken the run's snapshots for long, and nothing of something else.

        :param refused_since: since when it has taken nothing of that, ``time.monotonic()``.
        """
        if refused_since is None or self._taken_since is None:
            return False
        return time.monotonic() - max(refused_since, self._taken_since) > PATIENCE_SEC

    def give_sign_of_life(self) -> None:
        """Write that the run is held, and how far it is, or raise :class:`LostRun`."""
        # What is too large for NATS still, the end of the run says.
        with contextlib.suppress(SnapshotTooLarge):
            self._write_progress()

    def _give_up_files(self, why: str) -> None:
        for task in self._keeper.give_up(why):
            self._mark(task)

    def _mark(self, task: str) -> None:
        if task in self._records:
            self._records[task] = self._keeper.marked(task, self._records[task])
            self._is_dirty = True

    def _complain(self, task: str | None, text: str) -> None:
        """Say something in the log of the run."""
        self._take(Printed(task, "stderr", f"{text}\n"))

    def release(self) -> bool:
        """Let go of a run that has not ended, and say whether that was stored."""
        claim = self._stored.snapshot

        def intent(snapshot: Snapshot) -> Snapshot | None:
            return snapshot.released(time.time()) if snapshot.is_held_by(claim) else None

        try:
            return self._runs.change(self._stored, intent, budget_sec=_PROGRESS_BUDGET_SEC) is not None
        except (BusError, BusUnavailable, RunNotFound, SnapshotTooLarge) as exc:
            logger.warning("a run cannot be released: %s", exc, extra=self.context)
            return False

    def _wait_sec(self) -> float:
        """Seconds until the snapshot is to be written: soon after a change, else for the sign of life."""
        if self._cancel_hints.is_heard:
            return 0.0
        spacing = _WRITE_SPACING_SEC if self._is_dirty else self._config.run_heartbeat_interval_sec
        if self._cancel_hints.is_to_listen:
            spacing = _FIRST_WRITE_SEC
        due = self._written_at + spacing - time.monotonic()
        # Looked at in between, because the request to stop comes without a message of the runner.
        return max(0.0, min(due, 0.2))

    def take_last_words(self) -> None:
        """Take what a runner that was killed had printed."""
        for message in self._child.receive(0):
            if isinstance(message, Printed):
                self._take(message)

    def _take(self, message: Message | Printed | Died) -> Outcome | None:
        if isinstance(message, Planned):
            # In the order of the file where there is one: pyoco keeps the tasks of a flow in a set.
            unknown = sorted(set(message.tasks) - self._tasks.keys())
            self._tasks = {name: TaskState.PENDING.value for name in (*self._tasks, *unknown)}
            self._tasks.update(dict.fromkeys(message.restored, TaskState.SUCCEEDED.value))
            self._records = {name: self._records[name] for name in message.restored}
            self._resume_note = self._resume_note or message.note
            self._is_dirty = True
        elif isinstance(message, TaskChanged):
            self._tasks[message.name] = message.state
            self._records[message.name] = self._keeper.marked(message.name, message.record)
            self._is_cut = self._is_cut or message.is_cut
            self._is_output_itself[message.name] = message.is_output_itself
            self._is_dirty = True
            if message.state not in _OPEN_TASKS:
                self._keeper.task_ended(message.name)
        elif isinstance(message, Saved):
            self._keeper.note(message)
        elif isinstance(message, Printed):
            log_printed(self._log.take(message), {**self.context, "task": message.task})
        elif isinstance(message, Ended):
            self.is_child_reusable = message.is_reusable
            self._tasks.update(message.tasks)
            if self._forced_end.cause is Cause.TIMEOUT:
                return self._broken_off("")
            return self.outcome(RunStatus(message.status), message.reason, message.error)
        elif isinstance(message, Died):
            return self._broken_off(message.how)
        return None

    def outcome(self, status: RunStatus, reason: str | None, error: str | None) -> Outcome:
        """Give an end of the run, with its tasks as they stand."""
        last_lines = self._log.last_lines if status is RunStatus.FAILED else None
        return Outcome(status, reason, error, self._tasks, self._records, self._is_cut, self._resume_note, last_lines)

    def _broken_off(self, how: str) -> Outcome:
        """Give the end of a run whose process is gone.

        :param how: a clause that says how the process ended.
        """
        if self._forced_end.cause is Cause.CANCEL:
            return self.outcome(RunStatus.CANCELLED, None, None)
        reason, error = deadletters.WORKER_PROCESS_DIED, f"the process of the run {how}."
        if self._forced_end.cause is Cause.TIMEOUT:
            reason, error = deadletters.TIMEOUT, f"the run took longer than its {self._limit_sec:g} s."
        error = f"{reason}: {error}"
        now = time.time()
        for name, state in self._tasks.items():
            if state == TaskState.RUNNING.value:
                self._tasks[name] = TaskState.FAILED.value
                self._records[name] = {
                    **self._records.get(name, {}),
                    "state": TaskState.FAILED.value,
                    "ended_at": now,
                    "error": error,
                }
        return self.outcome(RunStatus.FAILED, reason, error)

    def _forced_end_begun(self) -> None:
        if self._forced_end.cause is Cause.TIMEOUT:
            # No task begins any more because another one has been ended.
            self._child.send(Cancel(self._stored.snapshot.run_id))
            logger.error(
                "a run has taken longer than its %g s; its processes are ended", self._limit_sec, extra=self.context
            )
            return
        logger.error(
            "a run did not stop within %g s of its cancel; its processes are ended",
            self._config.cancel_grace_period_sec,
            extra={**self.context, "err_id": LogId.CANCEL_OVERDUE},
        )

    def _write_progress(self) -> None:
        """Write the sign of life and what is new; learn of a cancel request or of the run's loss."""
        self._written_at = time.monotonic()
        taken_since, self._taken_since = self._taken_since or self._written_at, None
        self._cancel_hints.clear()
        try:
            written = self._runs.change(self._stored, self._progress, budget_sec=_PROGRESS_BUDGET_SEC)
        except SnapshotTooLarge:
            # NATS was not asked.
            self._taken_since = taken_since
            raise
        except RunNotFound as exc:
            raise LostRun from exc
        except (BusError, BusUnavailable) as exc:
            if self._log_limit.allows("progress"):
                logger.warning("the progress of a run cannot be written: %s", exc, extra=self.context)
            return
        if written is None:
            raise LostRun
        self._stored = written
        self._taken_since = taken_since
        self._is_dirty = False
        if written.snapshot.status is RunStatus.CANCELLING and not self._cancel_hints.is_over:
            self._child.send(Cancel(written.snapshot.run_id))
            self._cancel_hints.close()
            self._forced_end.cancel_sent()

    def _progress(self, snapshot: Snapshot) -> Snapshot | None:
        if not snapshot.is_held_by(self._stored.snapshot):
            return None
        return self._progressed(snapshot)

    def _progressed(self, snapshot: Snapshot) -> Snapshot:
        return snapshot.progressed(
            self._tasks, self._records, is_cut=self._is_cut, now=time.time(), resume_note=self._resume_note
        )

    @property
    def context(self) -> dict[str, Any]:
        """What a log line about this run carries."""
        snapshot = self._stored.snapshot
        return {"run_id": snapshot.run_id, "flow_name": snapshot.flow_name, "tag": snapshot.tag}
