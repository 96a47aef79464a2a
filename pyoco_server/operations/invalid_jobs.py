"""Jobs that cannot be read: each leaves a dead letter with its text, and fails its run where there is one.

Source: contract, section 2, "Dead letters".
"""

from __future__ import annotations

import time
from dataclasses import replace

from pyoco_server.bridge.messages import Delivery
from pyoco_server.contract import deadletters, names
from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.contract.jobs import decode_object
from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import InvalidJob, RunNotFound
from pyoco_server.states import RunStatus
from pyoco_server.stores.deadletters import DeadLetterStore
from pyoco_server.stores.runs import RunStore


def report_invalid(
    runs: RunStore, letters: DeadLetterStore, job: Delivery, error: InvalidJob, *, worker_id: str | None
) -> None:
    """Fail the run of a job that cannot be read, and store its dead letter; the job is left where it is.

    :param job: as it was handed out last.
    :raises BusUnavailable: not confirmed; safe to repeat.
    """
    run_id = _readable_run_id(job.payload)
    snapshot = fail_run(runs, run_id, job.seq, f"{deadletters.INVALID_JOB}: {error}") if run_id is not None else None
    letter = DeadLetter(
        reason=deadletters.INVALID_JOB,
        error=str(error),
        timestamp=time.time(),
        # Whatever stands there: a letter that is too large could not be stored.
        run_id=run_id and run_id[: names.MAX_NAME_CHARS],
        flow_name=snapshot.flow_name if snapshot else None,
        tag=job.subject.rpartition(".")[2],
        tags=snapshot.tags if snapshot else [],
        tenant_id=snapshot.tenant_id if snapshot else None,
        api_key_id=snapshot.api_key_id if snapshot else None,
        worker_id=worker_id,
        subject=job.subject,
        num_delivered=job.num_delivered,
        payload=job.payload[: deadletters.MAX_PAYLOAD_BYTES].decode(errors="replace"),
    )
    letters.publish(letter, key=f"invalid.{job.seq}")


def fail_run(runs: RunStore, run_id: str, job_seq: int, error: str) -> Snapshot | None:
    """Write FAILED over a run that has not ended, and that it is this job which failed it.

    :return: the run as it stands now; ``None`` when there is none.
    """

    def intent(snapshot: Snapshot) -> Snapshot | None:
        if snapshot.status.is_terminal:
            return None
        return replace(snapshot.ended(RunStatus.FAILED, error=error, now=time.time()), job_seq=job_seq)

    try:
        ended = runs.end(runs.get(run_id), intent)
        return (ended or runs.get(run_id)).snapshot
    except RunNotFound:
        return None


def _readable_run_id(payload: bytes) -> str | None:
    try:
        run_id = decode_object(payload).get("run_id")
    except InvalidJob:
        return None
    return run_id if isinstance(run_id, str) else None
