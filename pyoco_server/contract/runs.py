"""The snapshot: the stored state of a run, and how it may change.

Every method that changes a snapshot returns a new one; who writes it where, and against which revision, is the
business of the stores. Its fields and all its transitions stand in this one file, which is longer than others for it:
what a run can become is read in one place.

Source: contract, section 2, "Run snapshot".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pyoco_server.contract.jobs import Job
from pyoco_server.contract.leases import NO_LEASE, PollLease
from pyoco_server.contract.policy import DEFAULT_RETRY_DELAY_SEC, MAX_EARLIER_ERROR_CHARS, RunPolicy, retry_delay
from pyoco_server.contract.records import trimmed
from pyoco_server.errors import SnapshotTooLarge
from pyoco_server.states import RunStatus, TaskState

#: Sizes to which the large parts of each task record are cut, one after the other, until a snapshot fits.
_TRIM_STEPS_BYTES = (16_384, 2_048, 256)
#: What is kept of a run's error text; the whole of it stands in the task's record as long as it fits there.
MAX_ERROR_CHARS = 8_192
_BY_NAME_NOTE = "It began again from the start: its flow is the worker's own, which may be another one by now."
_OTHER_WHEELS_NOTE = "It began again from the start: its worker has other wheels than that of the earlier attempt."
#: What a submission must leave free of the cap for what its worker adds: names, times, an error text.
RESERVED_BYTES = 1_024


@dataclass(frozen=True)
class Snapshot:
    """One run as it is stored.

    ``extra`` holds what other programs of the fleet wrote and this one does not know: it is kept as it is.
    """

    run_id: str
    flow_name: str
    status: RunStatus
    updated_at: float
    heartbeat_at: float
    params: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, str] = field(default_factory=dict)
    tag: str = "default"
    tags: list[str] = field(default_factory=list)
    worker_id: str | None = None
    task_records: dict[str, dict[str, Any]] = field(default_factory=dict)
    task_records_truncated: bool = False
    start_time: float | None = None
    end_time: float | None = None
    error: str | None = None
    tenant_id: str | None = None
    api_key_id: str | None = None
    workflow_yaml_sha256: str | None = None
    workflow_yaml_bytes: int | None = None
    cancel_requested_at: float | None = None
    cancel_requested_by: str | None = None
    #: Ours: deliveries of the run to a worker so far.
    attempt: int = 0
    #: Ours: which life of the worker holds the run.
    instance_id: str | None = None
    #: Ours: the stream sequence of the job that the holder was given.
    job_seq: int | None = None
    #: Ours: the gateway that wrote the submission.
    origin: str | None = None
    #: Ours: when the run was submitted, unix seconds.
    submitted_at: float | None = None
    #: Ours: how long an attempt may take, in seconds; 0 = as long as it likes, ``None`` = the worker's own limit.
    timeout_sec: float | None = None
    #: Ours: the failed run whose dead letter was replayed as this one.
    replay_of: str | None = None
    #: Ours: see :class:`RunPolicy`.
    max_attempts: int = 1
    retry_delay_sec: float = DEFAULT_RETRY_DELAY_SEC
    #: Ours: of a run that has failed and is tried again, when; unix seconds by the clock of its last worker.
    retry_at: float | None = None
    #: Ours: the failures of earlier attempts, oldest first: ``attempt error ended_at worker_id`` of each.
    errors: list[dict[str, Any]] = field(default_factory=list)
    #: Ours: the wheels that the attempt imports from, each ``{name, version, sha256}``; ``None`` without wheel sync.
    wheels: list[dict[str, str]] | None = None
    #: Ours: whether an attempt leaves out the tasks that an earlier one has finished.
    resume: bool = True
    #: Ours: why it did not, in words, where it could have been.
    resume_note: str | None = None
    #: Ours: the run of which this one was made by a rerun.
    rerun_of: str | None = None
    #: Ours: of a run that has failed, the end of what its last attempt printed.
    last_lines: str | None = None
    #: Ours: see :class:`PollLease`.
    lease_until: float | None = None
    lease_reply: str | None = None
    timeout_at: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def pending(cls, job: Job, *, origin: str, tasks: list[str], now: float, **others: Any) -> Snapshot:
        """Give the first snapshot of a run: stored, and nobody has begun it.

        :param others: more of its fields.
        """
        return cls(
            run_id=job.run_id,
            flow_name=job.flow_name,
            status=RunStatus.PENDING,
            updated_at=now,
            heartbeat_at=now,
            params=job.params,
            tasks=dict.fromkeys(tasks, TaskState.PENDING.value),
            tag=job.tag,
            tags=job.tags,
            tenant_id=job.tenant_id,
            api_key_id=job.api_key_id,
            workflow_yaml_sha256=job.workflow_yaml_sha256,
            workflow_yaml_bytes=job.workflow_yaml_bytes,
            origin=origin,
            submitted_at=job.submitted_at,
            timeout_sec=job.timeout_sec,
            **others,
        )

    def _changed(self, **values: Any) -> Snapshot:
        """Give the snapshot with other values of these fields; ``dataclasses.replace`` takes eight times as long."""
        assert values.keys() <= _NAME_SET, values
        changed = object.__new__(Snapshot)
        vars(changed).update(vars(self), **values)
        return changed

    def claimed(
        self,
        *,
        worker_id: str,
        instance_id: str,
        job_seq: int,
        now: float,
        wheels: list[dict[str, str]] | None = None,
        lease: PollLease | None = None,
    ) -> Snapshot:
        """Give the snapshot of a run that a worker begins, for the first time or after another worker's end.

        :param wheels: what its runner imports from; ``None`` without wheel sync.
        :param lease: of a worker that asks over HTTP.
        """
        finished, resume_note = self._kept(wheels)
        return self._changed(
            **(NO_LEASE if lease is None else vars(lease)),
            status=RunStatus.RUNNING,
            worker_id=worker_id,
            instance_id=instance_id,
            job_seq=job_seq,
            attempt=self.attempt + 1,
            retry_at=None,
            start_time=self.start_time or now,
            heartbeat_at=now,
            updated_at=now,
            tasks={name: state if name in finished else TaskState.PENDING.value for name, state in self.tasks.items()},
            task_records=finished,
            resume_note=resume_note,
            task_records_truncated=False,
            wheels=wheels,
        )

    def _kept(self, wheels: list[dict[str, str]] | None) -> tuple[dict[str, dict[str, Any]], str | None]:
        """Give the records of finished tasks that the next attempt leaves out, or say why it leaves out none."""
        finished = self.finished_records if self.resume else {}
        if finished and self.workflow_yaml_sha256 is None:
            return {}, _BY_NAME_NOTE
        if finished and wheels != self.wheels:
            return {}, _OTHER_WHEELS_NOTE
        return finished, None

    @property
    def finished_records(self) -> dict[str, dict[str, Any]]:
        """The records of the tasks that have succeeded and whose results can be put back as they were."""
        return {
            name: record
            for name, record in self.task_records.items()
            if self.tasks.get(name) == TaskState.SUCCEEDED.value and record.get("is_resumable") is True
        }

    def progressed(
        self,
        tasks: Mapping[str, str],
        records: Mapping[str, dict[str, Any]],
        *,
        is_cut: bool,
        now: float,
        resume_note: str | None = None,
    ) -> Snapshot:
        """Give the snapshot with the present state of its tasks; also the run's sign of life.

        :param is_cut: whether values in the records were cut before they came here.
        """
        return self._changed(
            tasks=dict(tasks),
            task_records=dict(records),
            task_records_truncated=is_cut,
            resume_note=resume_note,
            heartbeat_at=now,
            updated_at=now,
        )

    def released(self, now: float) -> Snapshot:
        """Give the snapshot of a run whose holder hands it back: nobody executes it, and anybody may claim it."""
        return self._changed(**NO_LEASE, worker_id=None, instance_id=None, heartbeat_at=now, updated_at=now)

    def cancelling(self, *, requested_by: str | None, now: float) -> Snapshot:
        """Give the snapshot of a run whose end somebody asks for; it is no sign of life of its holder.

        :param requested_by: ``api_key:<key_id>``; ``None`` without auth.
        """
        return self._changed(
            status=RunStatus.CANCELLING,
            cancel_requested_at=now,
            cancel_requested_by=requested_by,
            retry_at=None,
            updated_at=now,
        )

    def as_marked(self) -> Snapshot:
        """Give a cancelled run as it was before its end: what a request is told that took part in marking it."""
        return self._changed(status=RunStatus.CANCELLING, end_time=None)

    def ended(self, status: RunStatus, *, error: str | None, now: float, last_lines: str | None = None) -> Snapshot:
        """Give the terminal snapshot; a cancelled run carries no error, and no task goes on after its run."""
        rest = TaskState.CANCELLED.value if status is RunStatus.CANCELLED else TaskState.FAILED.value
        records = self.task_records
        return self._changed(
            **NO_LEASE,
            status=status,
            tasks={name: _after_end(state, rest) for name, state in self.tasks.items()},
            task_records={
                name: {**record, "state": _after_end(record.get("state"), rest)} for name, record in records.items()
            },
            error=None if status is RunStatus.CANCELLED or error is None else error[:MAX_ERROR_CHARS],
            end_time=now,
            heartbeat_at=now,
            updated_at=now,
            last_lines=last_lines,
        )

    @property
    def policy(self) -> RunPolicy:
        """What the run was submitted with."""
        return RunPolicy(self.max_attempts, self.retry_delay_sec, self.timeout_sec, self.resume)

    @property
    def may_fail_again(self) -> bool:
        """Whether its policy has the run tried again after a failure of the present attempt."""
        return len(self.errors) + 1 < self.max_attempts

    @property
    def waits_for_retry(self) -> bool:
        """Whether the run has failed and has no job until it is tried again."""
        return self.status is RunStatus.PENDING and self.retry_at is not None

    def has_spent(self, job_seq: int) -> bool:
        """Say whether the run has failed by this job, and goes on with another one that is queued or will be."""
        return self.status is RunStatus.PENDING and (self.retry_at is not None or self.job_seq == job_seq)

    def failed_for_now(self, *, error: str | None, now: float) -> Snapshot:
        """Give the snapshot of a run whose attempt has failed and that is tried again.

        It keeps the mark of its last claim, by which that claim's job is recognised when it comes once more.
        """
        failure = {
            "attempt": self.attempt,
            "error": error and error[:MAX_EARLIER_ERROR_CHARS],
            "ended_at": now,
            "worker_id": self.worker_id,
        }
        delay_sec = retry_delay(self.retry_delay_sec, len(self.errors) + 1)
        return self.ended(RunStatus.FAILED, error=None, now=now)._changed(
            status=RunStatus.PENDING,
            worker_id=None,
            end_time=None,
            retry_at=now + delay_sec,
            errors=[*self.errors, failure],
        )

    def due(self, now: float) -> Snapshot:
        """Give the snapshot of a run whose time to be tried again has come; its job is published next."""
        return self._changed(retry_at=None, heartbeat_at=now, updated_at=now)

    def reduced(self) -> Snapshot:
        """Give the snapshot without everything that can make it larger than the cap, to end the run with."""
        return self._changed(
            params={}, tasks={}, task_records={}, task_records_truncated=True, wheels=None, last_lines=None
        )

    @property
    def has_holder(self) -> bool:
        """Whether a worker has taken the run, be it gone since.

        A worker of 0.5.1 writes neither its id nor an attempt: all that tells of it is the time when it began. A run
        that was cancelled it leaves as CANCELLING, and writes when it did so.
        """
        is_with_peer = self.start_time is not None and self.end_time is None and self.attempt == 0
        return self.worker_id is not None or is_with_peer

    def is_held_by(self, claim: Snapshot) -> bool:
        """Say whether this very claim still owns the run: the fence against a holder that was given up.

        :param claim: the snapshot as its holder wrote it. Its attempt tells even two claims of one job by one life
            of a worker apart.
        """
        return self.is_of(claim) and self.status in (RunStatus.RUNNING, RunStatus.CANCELLING)

    def is_of(self, claim: Snapshot) -> bool:
        """Say whether the last to claim the run was this very claim, whether or not the run has ended since."""
        mine = (claim.instance_id, claim.job_seq, claim.attempt)
        return (self.instance_id, self.job_seq, self.attempt) == mine

    def to_document(self) -> dict[str, Any]:
        """Give the JSON object, with the fields that are not known to be of use to anybody left out."""
        known = dict(vars(self))
        document: dict[str, Any] = {**known.pop("extra"), **known}
        document["status"] = self.status.value
        for name, default in OMITTED.items():
            if document[name] == default:
                del document[name]
        return document

    def fits(self, max_bytes: int) -> bool:
        """Say whether :meth:`to_bytes` has nothing to trim."""
        return len(json.dumps(self.to_document())) <= max_bytes

    def to_bytes(self, max_bytes: int, *, reserved_bytes: int = 0) -> bytes:
        """Encode, trimmed until it fits: first the large parts of each record, then all records.

        :param max_bytes: the cap of contract 2, which holds for every write.
        :param reserved_bytes: how much of it is to be left free.
        :raises SnapshotTooLarge: what must not be trimmed (parameters, task names) is larger than the cap.
        """
        room_bytes = max_bytes - reserved_bytes
        document = self.to_document()
        payload = json.dumps(document).encode()
        if len(payload) <= room_bytes:
            return payload
        document["task_records_truncated"] = True
        for limit in _TRIM_STEPS_BYTES:
            document["task_records"] = {name: trimmed(record, limit) for name, record in self.task_records.items()}
            payload = json.dumps(document).encode()
            if len(payload) <= room_bytes:
                return payload
        document["task_records"] = {}
        document.pop("last_lines", None)
        payload = json.dumps(document).encode()
        if len(payload) > room_bytes:
            kept = f", of which {reserved_bytes} are for what its worker adds" if reserved_bytes else ""
            raise SnapshotTooLarge(
                f"The snapshot of run {self.run_id} takes {len(payload)} bytes without any task record, and "
                f"PYOCO_MAX_RUN_SNAPSHOT_BYTES is {max_bytes}{kept}. Pass large inputs as files or addresses, or raise "
                "it."
            )
        return payload

    @classmethod
    def from_bytes(cls, payload: bytes) -> Snapshot:
        """Decode a stored snapshot.

        :raises ValueError: not a snapshot; a key of the bucket that none of the fleet's programs wrote.
        """
        try:
            document = json.loads(payload)
        except RecursionError as exc:
            raise ValueError("the snapshot is nested too deeply") from exc
        if not isinstance(document, dict):
            raise ValueError("a snapshot must be a JSON object")
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Snapshot:
        """Decode the JSON object of a snapshot, which is used up.

        What no program of the fleet writes is read all the same where that loses nothing that anybody could use: such a
        run is shown, and comes to an end, like any other.

        :raises ValueError: see :meth:`from_bytes`.
        """
        known = {name: document.pop(name) for name in _NAMES if document.get(name) is not None}
        missing = {"run_id", "flow_name", "status"} - known.keys()
        if missing:
            raise ValueError(f"the snapshot lacks {', '.join(sorted(missing))}")
        for name, kind in _READ_BY_ALL.items():
            if not isinstance(known.get(name, kind[0]()), kind):
                raise ValueError(f"the snapshot's {name} is a {type(known[name]).__name__}")
        for name, kind in _ABSENT_IF_ODD.items():
            if not isinstance(known.get(name, kind[0]()), kind):
                del known[name]
        for name in _SECONDS:
            if isinstance(known.get(name), int) and abs(known[name]) > _MAX_SEC:
                del known[name]
        records = known.get("task_records", {})
        if not all([isinstance(record, dict) for record in records.values()]):
            known["task_records"] = {name: record for name, record in records.items() if isinstance(record, dict)}
        known["status"] = RunStatus(known["status"])
        known.setdefault("updated_at", known.get("heartbeat_at", 0.0))
        known.setdefault("heartbeat_at", known["updated_at"])
        extra = {name: value for name, value in document.items() if name not in _NAME_SET}
        return cls(**known, extra=extra)


_NAMES = tuple(item.name for item in fields(Snapshot) if item.name != "extra")
_NAME_SET = frozenset(_NAMES)
#: Fields that lists and watches compare and policies count with: a value of another type must not come that far.
_READ_BY_ALL: dict[str, tuple[type, ...]] = {
    "run_id": (str,),
    "flow_name": (str,),
    "tag": (str,),
    "updated_at": (float, int),
    "heartbeat_at": (float, int),
    "max_attempts": (int,),
    "retry_delay_sec": (float, int),
    "retry_at": (float, int),
    "errors": (list,),
    "lease_until": (float, int),
    "timeout_at": (float, int),
}
#: Fields that pages, reruns and the end of a run go through: a value of another type is none.
_ABSENT_IF_ODD: dict[str, tuple[type, ...]] = {
    "params": (dict,),
    "tags": (list,),
    "tasks": (dict,),
    "task_records": (dict,),
    "worker_id": (str,),
    "attempt": (int,),
    "submitted_at": (float, int),
    "workflow_yaml_sha256": (str,),
}
#: Times and durations that are calculated with; a whole number may be too large for that, and is none.
_MAX_SEC = 2**53
_SECONDS = ("updated_at", "heartbeat_at", "submitted_at", "retry_delay_sec", "retry_at", "lease_until", "timeout_at")
#: Fields that only our own programs write, and only where they apply: what is left out for each.
OMITTED: dict[str, Any] = {
    "instance_id": None,
    "job_seq": None,
    "origin": None,
    "submitted_at": None,
    "timeout_sec": None,
    "replay_of": None,
    "max_attempts": 1,
    "retry_delay_sec": DEFAULT_RETRY_DELAY_SEC,
    "retry_at": None,
    "errors": [],
    "wheels": None,
    "resume": True,
    "resume_note": None,
    "rerun_of": None,
    "last_lines": None,
    **NO_LEASE,
}


def _after_end(state: Any, rest: str) -> Any:
    return rest if state == TaskState.RUNNING.value else state
