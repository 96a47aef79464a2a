"""From when on a worker that asks over HTTP may be given a run, as the read model sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyoco_server.bridge.messages import Change
from pyoco_server.readmodel.rows import run_row

NOW = 1_000_000.0
FREE_AT = -3


def free_at(**fields: Any) -> float | None:
    document = {"run_id": "r", "flow_name": "f", "tag": "t", "updated_at": NOW, "heartbeat_at": NOW, **fields}
    change = Change("r", json.dumps(document).encode(), 1, is_removal=False)
    row = run_row("r", change, has_tenants=False, disconnect_timeout_sec=20)
    found: float | None = row[FREE_AT]
    return found


OURS = {"status": "RUNNING", "worker_id": "w", "attempt": 1, "start_time": NOW}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "PENDING"}, 0.0),
        ({"status": "PENDING", "attempt": 1, "job_seq": 7}, 0.0),
        ({"status": "PENDING", "retry_at": NOW}, None),
        ({"status": "PENDING", "workflow_yaml_sha256": "0"}, None),
        (OURS, NOW + 20),
        ({**OURS, "lease_until": NOW + 3600, "lease_reply": "r"}, NOW + 3600),
        # Its worker has released it.
        ({**OURS, "worker_id": None}, 0.0),
        # A worker of 0.5.1 holds it.
        ({"status": "RUNNING", "worker_id": None, "start_time": NOW}, NOW + 20),
        ({**OURS, "status": "CANCELLING"}, None),
        ({**OURS, "status": "COMPLETED"}, None),
    ],
)
def test_a_run_is_free_when_it_waits_or_its_worker_seems_lost(fields: dict[str, Any], expected: float | None) -> None:
    assert free_at(**fields) == expected
