"""Workers that ask over HTTP, as tests play them."""

from __future__ import annotations

from typing import Any

from pyoco_server.bridge.messages import Stored
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts

#: The answer to a poll for which there is nothing.
NOTHING = {"run_id": None, "flow_name": None, "params": None}


def key_header(key: str | None) -> dict[str, str]:
    return {} if key is None else {"X-API-Key": key}


def poll(local: LocalGateway, *tags: str, worker_id: str = "w", key: str | None = None) -> dict[str, Any]:
    body = {"worker_id": worker_id, "tags": list(tags)}
    answer = local.ask("POST", "/workers/poll", json=body, headers=key_header(key))
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def beat(local: LocalGateway, run_id: str, status: str = "RUNNING", *, key: str | None = None, **fields: Any) -> bool:
    """Send a heartbeat; gives whether the worker is to stop."""
    body = {"task_states": {}, "run_status": status, **fields}
    answer = local.ask("POST", f"/runs/{run_id}/heartbeat", json=body, headers=key_header(key))
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"cancel_requested"}
    requested: bool = answer.json()["cancel_requested"]
    return requested


def read(local: LocalGateway, run_id: str) -> dict[str, Any]:
    document: dict[str, Any] = local.get(f"/runs/{run_id}?include=records").json()
    return document


def dead_letters(parts: Parts) -> list[Stored]:
    return parts.messages("PYOCO_DLQ")
