"""The job: the message that carries a run through the work queue.

Source: contract, section 2, "Job message".
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pyoco_server.errors import InvalidJob


@dataclass(frozen=True)
class Job:
    """What a worker needs to execute a run.

    :param params: values by name, with the flow's defaults below them already.
    :param submitted_at: unix seconds.
    :param timeout_sec: how long an attempt may take, 0 = as long as it likes; ``None`` = the worker's own limit.
    :param workflow_yaml: the flow.yaml's text; ``None`` for a run by flow name.
    """

    run_id: str
    flow_name: str
    tag: str
    tags: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    submitted_at: float | None = None
    tenant_id: str | None = None
    api_key_id: str | None = None
    workflow_yaml: str | None = None
    workflow_yaml_sha256: str | None = None
    workflow_yaml_bytes: int | None = None
    timeout_sec: float | None = None

    def to_bytes(self) -> bytes:
        """Encode as the job message; the workflow fields are absent for a run by flow name."""
        document: dict[str, Any] = {
            "run_id": self.run_id,
            "flow_name": self.flow_name,
            "tag": self.tag,
            "tags": self.tags,
            "params": self.params,
            "submitted_at": self.submitted_at,
            "tenant_id": self.tenant_id,
            "api_key_id": self.api_key_id,
        }
        if self.workflow_yaml is not None:
            document["workflow_yaml"] = self.workflow_yaml
            document["workflow_yaml_sha256"] = self.workflow_yaml_sha256
            document["workflow_yaml_bytes"] = self.workflow_yaml_bytes
        if self.timeout_sec is not None:
            document["timeout_sec"] = self.timeout_sec
        return json.dumps(document).encode()

    @classmethod
    def from_bytes(cls, payload: bytes) -> Job:
        """Decode a job message, of whichever program of the fleet.

        :raises InvalidJob: not JSON, not an object, or a field is missing or of a wrong type; says which.
        """
        document = decode_object(payload)
        values: dict[str, Any] = {}
        for name, (kind, required) in _FIELDS.items():
            value = document.get(name)
            if value is None:
                if required:
                    raise InvalidJob(f"The job lacks {name!r}.")
                continue
            if not isinstance(value, kind) or isinstance(value, bool):
                raise InvalidJob(f"The job's {name!r} is a {type(value).__name__}, which it must not be.")
            values[name] = value
        if not all(isinstance(tag, str) for tag in values.get("tags", ())):
            raise InvalidJob("The job's 'tags' must all be strings.")
        return cls(**values)


#: Type of each field, and whether a job without it can be executed.
_FIELDS: dict[str, tuple[type | tuple[type, ...], bool]] = {
    "run_id": (str, True),
    "flow_name": (str, True),
    "tag": (str, True),
    "tags": (list, False),
    "params": (dict, True),
    "submitted_at": ((int, float), False),
    "tenant_id": (str, False),
    "api_key_id": (str, False),
    "workflow_yaml": (str, False),
    "workflow_yaml_sha256": (str, False),
    "workflow_yaml_bytes": (int, False),
    "timeout_sec": ((int, float), False),
}


def decode_object(payload: bytes) -> dict[str, Any]:
    """Decode a JSON object.

    :raises InvalidJob: not JSON or not an object.
    """
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise InvalidJob(f"The job is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise InvalidJob(f"The job is a JSON {type(document).__name__}, not an object.")
    return document
