"""Submitting a run: keep the text, store the snapshot, queue the job.

Source: design, section 4; contract, section 2, "Order of writes".
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.messages import Outcome, Write
from pyoco_server.contract.jobs import Job
from pyoco_server.contract.policy import RunPolicy
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import (
    BusError,
    BusTimeout,
    BusUnavailable,
    IdempotencyKeyReused,
    PyocoServerError,
    RevisionConflict,
    SnapshotTooLarge,
    SubmissionUncertain,
    TooLarge,
)
from pyoco_server.logs import LogId
from pyoco_server.operations.authenticate import Caller
from pyoco_server.operations.run_ids import new_run_id
from pyoco_server.states import TaskState
from pyoco_server.stores.idempotency import IdempotencyStore, KeyedRun
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore
from pyoco_server.stores.workflows import WorkflowStore
from pyoco_server.workflow.flow_yaml import Workflow
from pyoco_server.workflow.graph import task_names_of

logger = logging.getLogger(__name__)

#: Runs of a batch that are on their way at the same time. Each takes up to half a megabyte of memory meanwhile, its
#: workflow's text included; more of them bring no more runs a second.
_AT_A_TIME = 50


@dataclass(frozen=True)
class RunRequest:
    """What a user wants to be run; checked already.

    :param caller: whose run it is. It has no default, so that no route forgets it.
    :param params: values by name; for a workflow they are laid over its defaults.
    :param workflow: the flow.yaml; ``None`` for a flow that the workers resolve by its name.
    :param replay_of: the failed run of which this one is made, from its dead letter.
    :param rerun_of: the run of which this one is made by a rerun.
    :param finished: records of tasks that are not to be executed again.
    :param wheels: what they were executed with.
    """

    caller: Caller
    flow_name: str
    tag: str
    tags: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    workflow: Workflow | None = None
    policy: RunPolicy = field(default_factory=RunPolicy)
    replay_of: str | None = None
    rerun_of: str | None = None
    finished: dict[str, dict[str, Any]] = field(default_factory=dict)
    wheels: list[dict[str, str]] | None = None

    @classmethod
    def of(
        cls,
        caller: Caller,
        default_tag: str,
        flow_name: str,
        tag: str | None,
        tags: list[str] | None,
        params: dict[str, Any],
        workflow: Workflow | None = None,
        policy: RunPolicy | None = None,
    ) -> RunRequest:
        """Make a request of checked input, in which a user may have left out what is ``None`` here."""
        tag = tag or default_tag
        # An empty list counts as none, as in 0.5.1.
        return cls(caller, flow_name, tag, tags or [tag], params, workflow, policy or RunPolicy())

    @property
    def digest(self) -> str:
        """Tell this request from others: a hash of all that decides what is run."""
        values: list[Any] = [self.flow_name, self.tag, self.tags, self.params]
        values += [self.workflow and self.workflow.sha256, vars(self.policy)]
        values += [self.rerun_of, sorted(self.finished)]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Submitted:
    """An accepted run.

    :param revision: the sequence of its snapshot, for whoever wants to wait until a list shows it; 0 of a run that
        was there already.
    """

    run_id: str
    revision: int

    @property
    def is_repeated(self) -> bool:
        """Whether a request before this one submitted the run."""
        return self.revision == 0


@dataclass(frozen=True)
class _Prepared:
    """A run that is ready to be written.

    :param is_keyed: whether others may count on this run as soon as it is stored, so that it is not withdrawn.
    """

    run_id: str
    workflow: Workflow | None
    creation: Write
    publication: Write
    is_keyed: bool = False


def new_origin() -> str:
    """Give a name for one life of this process as a writer of snapshots."""
    return f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"


class Submission:
    """Accepts runs.

    :param origin: names who writes the snapshots, see :func:`new_origin`; only runs with an origin are repaired, by
        any gateway.
    :param published: told of every run whose job is known to be queued, so that the sweep leaves it alone.
    :param withdrawn: told of every run whose snapshot was stored, as this revision, and removed again.
    """

    def __init__(
        self,
        bus: Bus,
        runs: RunStore,
        queue: Queue,
        workflows: WorkflowStore,
        keys: IdempotencyStore,
        *,
        origin: str,
        published: Callable[[str], None],
        withdrawn: Callable[[str, int], None],
    ) -> None:
        self._bus = bus
        self._runs = runs
        self._queue = queue
        self._workflows = workflows
        self._keys = keys
        self._origin = origin
        self._published = published
        self._withdrawn = withdrawn

    def submit(self, request: RunRequest) -> Submitted:
        """Store and queue a run.

        :raises SnapshotTooLarge: the snapshot is over the cap.
        :raises TooLarge: the job is over what NATS carries.
        :raises BusUnavailable: nothing was accepted; safe to submit again.
        :raises SubmissionUncertain: the answer was lost; the sweep completes the run if it was stored.
        """
        (outcome,) = self.submit_each([request])
        if isinstance(outcome, PyocoServerError):
            raise outcome
        return outcome

    def begin(self, request: RunRequest, done: Callable[[Outcome[Submitted]], None]) -> None:
        """Store and queue a run without waiting for it; its workflow, where it has one, must be kept already.

        :param done: told on the bridge's thread, which it must not block. The result of a run that was accepted is
            there at once; else it gives what :meth:`submit` would have raised, may ask NATS first, and must be called.
        :raises PyocoServerError: as :meth:`submit`; nothing was begun.
        """
        prepared = self._prepare(request, new_run_id())
        if isinstance(prepared, PyocoServerError):
            raise prepared

        def written(outcome: Outcome[list[int]]) -> None:
            done(Outcome(outcome.has_failed, functools.partial(self._settle, prepared, outcome)))

        self._bus.begin_write((prepared.creation, prepared.publication), written)

    def submit_once(self, request: RunRequest, key: str) -> Submitted:
        """Store and queue a run, or give the one that was submitted by the same request with the same key.

        The key comes to stand for a run before the run is stored, so whoever sends it again after any end of a gateway
        completes what that one began. Whoever of several is first stores the run, and the others find it; none of
        them withdraws it when its job is refused, for it may have been promised by another one: the sweep queues it.

        :raises IdempotencyKeyReused: the key stands for another request.
        :raises PyocoServerError: as :meth:`submit`; always safe to submit again with the same key.
        """
        prepared = self._prepare(request, new_run_id())
        if isinstance(prepared, PyocoServerError):
            raise prepared
        keyed = self._keys.claim(request.caller.tenant_id, key, KeyedRun(prepared.run_id, request.digest))
        if keyed.digest != request.digest:
            raise IdempotencyKeyReused
        if keyed.run_id != prepared.run_id:
            prepared = self._prepare(request, keyed.run_id)
            if isinstance(prepared, PyocoServerError):
                raise prepared
        (outcome,) = self._write([replace(prepared, is_keyed=True)])
        if isinstance(outcome, PyocoServerError):
            raise outcome
        return outcome

    def submit_each(self, requests: Sequence[RunRequest]) -> list[Submitted | PyocoServerError]:
        """Store and queue runs, each judged by itself, many of them on their way at the same time.

        When NATS stops answering, what has not been tried by then is refused untried: nobody waits for the time-out
        of a thousand runs.

        :return: in the order of ``requests``, what :meth:`submit` would have given or raised for each.
        """
        outcomes: list[Submitted | PyocoServerError] = []
        for start in range(0, len(requests), _AT_A_TIME):
            some = self._submit_some(requests[start : start + _AT_A_TIME])
            outcomes += some
            if any(isinstance(outcome, BusUnavailable) for outcome in some):
                break
        untried = BusUnavailable("The run was not accepted: NATS stopped answering before its turn came.")
        return outcomes + [untried] * (len(requests) - len(outcomes))

    def _submit_some(self, requests: Sequence[RunRequest]) -> list[Submitted | PyocoServerError]:
        return self._write([self._prepare(request, new_run_id()) for request in requests])

    def _write(self, prepared: Sequence[_Prepared | PyocoServerError]) -> list[Submitted | PyocoServerError]:
        ready = [item for item in prepared if isinstance(item, _Prepared)]
        try:
            for item in ready:
                if item.workflow is not None:
                    self._workflows.keep(item.workflow.sha256, item.workflow.text)
        except (BusError, BusUnavailable) as exc:
            return [exc.without_frames() if isinstance(item, _Prepared) else item for item in prepared]
        written = iter(self._bus.write_each([(item.creation, item.publication) for item in ready]))
        return [self._outcome(item, next(written)) if isinstance(item, _Prepared) else item for item in prepared]

    def _prepare(self, request: RunRequest, run_id: str) -> _Prepared | PyocoServerError:
        job = _job(request, run_id)
        workflow = request.workflow
        nodes = list(task_names_of(workflow)) if workflow is not None else []
        policy = request.policy
        snapshot = Snapshot.pending(
            job,
            origin=self._origin,
            tasks=nodes,
            now=time.time(),
            max_attempts=policy.max_attempts,
            retry_delay_sec=policy.retry_delay_sec,
            resume=policy.resume,
            replay_of=request.replay_of,
            rerun_of=request.rerun_of,
            task_records=request.finished,
            wheels=request.wheels,
        )
        if request.finished:
            done = dict.fromkeys(request.finished, TaskState.SUCCEEDED.value)
            snapshot = replace(snapshot, tasks={**snapshot.tasks, **done})
        try:
            creation, publication = self._runs.creation(snapshot), self._queue.first_publication(job, snapshot)
        except SnapshotTooLarge as exc:
            return exc.without_frames()
        for write in (creation, publication):
            if not self._bus.accepts(write):
                return TooLarge(
                    f"The run takes {len(write.payload)} bytes and NATS carries {self._bus.max_payload_bytes}, "
                    "headers included. Pass large inputs as files or addresses."
                )
        return _Prepared(job.run_id, workflow, creation, publication)

    def _settle(self, prepared: _Prepared, written: Outcome[list[int]]) -> Submitted:
        try:
            outcome = self._outcome(prepared, written.result())
        except (BusError, BusUnavailable) as exc:
            outcome = self._outcome(prepared, exc.without_frames())
        if isinstance(outcome, PyocoServerError):
            raise outcome
        return outcome

    def _outcome(
        self, prepared: _Prepared, written: list[int] | BusError | BusUnavailable
    ) -> Submitted | PyocoServerError:
        run_id = prepared.run_id
        if isinstance(written, list):
            self._published(run_id)
            return Submitted(run_id, written[0])
        is_stored = bool(written.completed)
        if prepared.is_keyed and isinstance(written, RevisionConflict) and not is_stored:
            return Submitted(run_id, 0)
        if isinstance(written, BusTimeout) or (prepared.is_keyed and is_stored):
            return SubmissionUncertain(run_id, str(written))
        if is_stored:
            try:
                self._withdraw(run_id, written.completed[0])
            except SubmissionUncertain as exc:
                return exc.without_frames()
        return BusUnavailable(f"The run was not accepted: {written}")

    def _withdraw(self, run_id: str, revision: int) -> None:
        """Remove the snapshot of a run whose job was refused.

        :raises SubmissionUncertain: that did not succeed either, so the sweep will queue the run.
        """
        try:
            self._runs.remove(run_id, revision)
        except (BusError, BusUnavailable) as exc:
            logger.error(
                "the snapshot of a refused submission could not be removed",
                exc_info=True,
                extra={"run_id": run_id, "err_id": LogId.CLEAN_UP_FAILED},
            )
            raise SubmissionUncertain(run_id, str(exc)) from exc
        self._withdrawn(run_id, revision)


def job_of(snapshot: Snapshot, workflow_yaml: str | None) -> Job:
    """Make a run's job again from what is stored of it."""
    return Job(
        run_id=snapshot.run_id,
        flow_name=snapshot.flow_name,
        tag=snapshot.tag,
        tags=snapshot.tags,
        params=snapshot.params,
        submitted_at=snapshot.submitted_at,
        tenant_id=snapshot.tenant_id,
        api_key_id=snapshot.api_key_id,
        workflow_yaml=workflow_yaml,
        workflow_yaml_sha256=snapshot.workflow_yaml_sha256,
        workflow_yaml_bytes=snapshot.workflow_yaml_bytes,
        timeout_sec=snapshot.timeout_sec,
    )


def _job(request: RunRequest, run_id: str) -> Job:
    workflow = request.workflow
    params = request.params if workflow is None else workflow.params_over_defaults(request.params)
    return Job(
        run_id=run_id,
        flow_name=request.flow_name,
        tag=request.tag,
        tags=request.tags,
        params=params,
        submitted_at=time.time(),
        tenant_id=request.caller.tenant_id,
        api_key_id=request.caller.api_key_id,
        workflow_yaml=workflow.text if workflow else None,
        workflow_yaml_sha256=workflow.sha256 if workflow else None,
        workflow_yaml_bytes=workflow.size_bytes if workflow else None,
        timeout_sec=request.policy.timeout_sec,
    )
