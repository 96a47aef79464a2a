"""Routes of the worker registry: list, hide.

Source: contract, section 3, rows ``/workers``.
"""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, request

from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.errors import InvalidInput, InvalidWorkersRequest
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.inputs import HiddenInput, read_json_object, read_model, read_worker_query
from pyoco_server.operations.worker_registry import select_workers

blueprint = Blueprint("workers", __name__)


@blueprint.get("/workers")
def list_workers() -> list[dict[str, Any]]:
    """List workers, the one that was seen last first."""
    query = read_worker_query(request.args)
    parts = gateway()
    timeout_sec = parts.config.worker_disconnect_timeout_sec
    return select_workers(parts.model.workers(), query, now=time.time(), timeout_sec=timeout_sec)


@blueprint.patch("/workers/<worker_id>")
def change_worker(worker_id: str) -> dict[str, Any]:
    """Hide a worker from lists, or show it again."""
    try:
        given = read_model(HiddenInput, read_json_object(request.get_data(cache=False), "body"), "body")
    except InvalidInput as exc:
        raise InvalidWorkersRequest(faults=exc.faults) from exc
    record = set_hidden(worker_id, given.hidden)
    return {"worker_id": record.worker_id, "hidden": record.hidden, "updated_at": record.updated_at}


@blueprint.post("/workers/<worker_id>/drain")
def drain(worker_id: str) -> dict[str, Any]:
    """Ask a worker to take no more runs, and to stop when those that it has are over."""
    record = request_drain(worker_id)
    return {"worker_id": record.worker_id, "drain_requested_at": record.drain_requested_at}


def request_drain(worker_id: str) -> WorkerRecord:
    """Ask a worker to drain; gives its record.

    :raises WorkerNotFound: there is no such worker.
    :raises CannotDrain: it is gone, or of a version that nobody can ask.
    :raises BusUnavailable: not confirmed; safe to repeat.
    """
    parts = gateway()
    timeout_sec = parts.config.worker_disconnect_timeout_sec
    record, revision = parts.workers.request_drain(worker_id, now=time.time(), timeout_sec=timeout_sec)
    parts.model.note_written(revision, "workers")
    return record


def set_hidden(worker_id: str, is_hidden: bool) -> WorkerRecord:
    """Hide a worker from lists, or show it again; gives its record.

    :raises WorkerNotFound: there is no such worker.
    :raises BusUnavailable: not confirmed; safe to repeat.
    """
    parts = gateway()
    record, revision = parts.workers.set_hidden(worker_id, is_hidden, now=time.time())
    parts.model.note_written(revision, "workers")
    return record
