"""The dead letter: a diagnostic record of a job that could not be done.

Source: contract, section 2, "Dead letters".
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from pyoco_server.contract.runs import Snapshot

INVALID_JOB = "invalid_job"
FLOW_NOT_FOUND = "flow_not_found"
EXECUTION_ERROR = "execution_error"
MAX_DELIVERIES = "max_deliveries"
WORKER_PROCESS_DIED = "worker_process_died"
TIMEOUT = "timeout"

#: Reasons with which the error of a run begins.
NAMED_IN_ERROR = frozenset({FLOW_NOT_FOUND, MAX_DELIVERIES, WORKER_PROCESS_DIED, TIMEOUT})

#: Failures that another attempt would not mend; all others may be tried again by the run's policy.
FINAL = frozenset({INVALID_JOB, FLOW_NOT_FOUND, MAX_DELIVERIES})

#: How much of an undecodable job is kept.
MAX_PAYLOAD_BYTES = 4096


def reason_of(error: str | None) -> str:
    """Give the reason for which a run has failed, as its error names it."""
    named, _, _ = (error or "").partition(":")
    return named if named in NAMED_IN_ERROR else EXECUTION_ERROR


@dataclass(frozen=True)
class DeadLetter:
    """Why a job could not be done.

    :param reason: one of this module's words.
    :param timestamp: unix seconds.
    :param subject: with ``num_delivered`` and ``payload``, only of a job that could not be decoded.
    """

    reason: str
    error: str | None
    timestamp: float
    run_id: str | None
    flow_name: str | None
    tag: str
    tags: list[str] = field(default_factory=list)
    tenant_id: str | None = None
    api_key_id: str | None = None
    worker_id: str | None = None
    subject: str | None = None
    num_delivered: int | None = None
    payload: str | None = None

    @classmethod
    def of_run(cls, ended: Snapshot, reason: str) -> DeadLetter:
        """Give the letter of a run that has ended FAILED."""
        return cls(
            reason=reason,
            error=ended.error,
            timestamp=ended.end_time or time.time(),
            run_id=ended.run_id,
            flow_name=ended.flow_name,
            tag=ended.tag,
            tags=ended.tags,
            tenant_id=ended.tenant_id,
            api_key_id=ended.api_key_id,
            worker_id=ended.worker_id,
        )

    def to_document(self) -> dict[str, Any]:
        """Give the JSON object."""
        document: dict[str, Any] = dict(self.__dict__)
        if self.payload is None:
            for name in ("subject", "num_delivered", "payload"):
                del document[name]
        return document

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_document()).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> DeadLetter:
        """Decode a stored record, of whichever program of the fleet; fields that it does not know are left out.

        :raises ValueError: not a dead letter.
        """
        try:
            document = json.loads(payload)
        except RecursionError as exc:
            raise ValueError("the dead letter is nested too deeply") from exc
        if not isinstance(document, dict):
            raise ValueError("a dead letter must be a JSON object")
        known = {name: document[name] for name in cls.__dataclass_fields__ if document.get(name) is not None}
        for name in ("reason", "tag", "timestamp"):
            if not isinstance(known.get(name), (float, int) if name == "timestamp" else str):
                raise ValueError(f"the dead letter's {name} is missing or of a wrong type")
        return cls(**{"error": None, "run_id": None, "flow_name": None, **known})
