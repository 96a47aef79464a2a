"""Routes of the worker registry: list, hide, drain.

Source: contract, section 3, rows ``/workers``.
"""

from __future__ import annotations

import time

from flask import Blueprint

from pyoco_server.contract.workers import WorkerRecord
from pyoco_server.errors import CannotDrain, WorkerNotFound
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import described
from pyoco_server.gateway.inputs import HiddenInput
from pyoco_server.gateway.outputs import WorkerDocument, WorkerDrained, WorkerVisibility
from pyoco_server.gateway.queries import WorkerListQuery
from pyoco_server.operations.worker_registry import select_workers

blueprint = Blueprint("workers", __name__)


@blueprint.get("/workers")
@described()
def list_workers(query: WorkerListQuery) -> list[WorkerDocument]:
    """List workers, the one that was seen last first."""
    parts = gateway()
    timeout_sec = parts.config.worker_disconnect_timeout_sec
    return select_workers(parts.model.workers(), query.of_all(), now=time.time(), timeout_sec=timeout_sec)


@blueprint.patch("/workers/<path:worker_id>")
@described(refuses=(WorkerNotFound,))
def change_worker(worker_id: str, body: HiddenInput) -> WorkerVisibility:
    """Hide a worker from lists, or show it again."""
    record = set_hidden(worker_id, body.hidden)
    return {"worker_id": record.worker_id, "hidden": record.hidden, "updated_at": record.updated_at}


@blueprint.post("/workers/<path:worker_id>/drain")
@described(refuses=(WorkerNotFound, CannotDrain))
def drain(worker_id: str) -> WorkerDrained:
    """Ask a worker to take no more runs, and to stop when those that it has are over."""
    record = request_drain(worker_id)
    assert record.drain_requested_at is not None
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
    parts.model.note_seen(revision, "workers")
    return record


def set_hidden(worker_id: str, is_hidden: bool) -> WorkerRecord:
    """Hide a worker from lists, or show it again; gives its record.

    :raises WorkerNotFound: there is no such worker.
    :raises BusUnavailable: not confirmed; safe to repeat.
    """
    parts = gateway()
    record, revision = parts.workers.set_hidden(worker_id, is_hidden, now=time.time())
    parts.model.note_seen(revision, "workers")
    return record
