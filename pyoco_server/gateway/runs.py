"""Routes of runs: submit, list, read.

Source: contract, section 3.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, request

from pyoco_server.contract import names, projections
from pyoco_server.contract.json_text import to_json
from pyoco_server.contract.policy import RunPolicy
from pyoco_server.errors import CannotRunAgain, Fault, InvalidInput, TooLarge, WorkflowInvalid
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.answers import json_in_pieces
from pyoco_server.gateway.context import Gateway, gateway
from pyoco_server.gateway.description import Form, described
from pyoco_server.gateway.inputs import (
    RerunInput,
    RunInput,
    WorkflowInput,
    read_json_object,
    read_model,
)
from pyoco_server.gateway.outputs import Accepted, RunAndWorker, RunDocument, RunPage, RunSummary
from pyoco_server.gateway.queries import RunListQuery, RunReadQuery, SubmitHeaders
from pyoco_server.gateway.watch import wait_for_end
from pyoco_server.operations.again import rerun_request
from pyoco_server.operations.submit import RunRequest, Submitted
from pyoco_server.stores.runs import StoredRun, decoded
from pyoco_server.workflow.flow_yaml import Workflow, parse_workflow

blueprint = Blueprint("runs", __name__)

#: So many snapshots of a list are in memory at once.
_READ_AT_A_TIME = 16

#: An answer to a submission, with its headers.
Answer = tuple[Accepted, dict[str, str]]


@blueprint.post("/runs")
@described()
def submit_run(headers: SubmitHeaders, body: RunInput) -> Answer:
    """Submit a flow by its name."""
    wanted = body.request(caller(), gateway().config.default_tag)
    return _answer(submit(gateway(), wanted, headers.idempotency_key))


@blueprint.post("/runs/yaml")
@described(form=Form(WorkflowInput, "workflow", alone_as="application/yaml"))
def submit_workflow(headers: SubmitHeaders) -> Answer:
    """Submit a flow.yaml, as a form with a file or as the body itself."""
    text, sent, where = _workflow_of_request()
    given = workflow_input(sent, where)
    workflow = parse_workflow(text, max_bytes=gateway().config.workflow_yaml_max_bytes)
    wanted = given.request(caller(), gateway().config.default_tag, workflow)
    return _answer(submit(gateway(), wanted, headers.idempotency_key), workflow)


@blueprint.post("/runs/<run_id>/rerun")
@described(refuses=(CannotRunAgain, WorkflowInvalid, TooLarge))
def rerun_run(run_id: str, headers: SubmitHeaders, body: RerunInput) -> Answer:
    """Submit a run that has ended again, as a new one."""
    return _answer(rerun(run_id, from_failed=body.begins_at == "failed", key=headers.idempotency_key))


@blueprint.get("/runs")
@described(answer=list[RunSummary] | list[RunDocument] | RunPage)
def list_runs(query: RunListQuery) -> Response:
    """List runs, newest change first; an object with a cursor where one of its parameters is given."""
    page = gateway().model.list_runs(query.of(caller().tenant_id))
    if query.wants_all:
        items = _whole_runs(gateway(), [document["run_id"] for document in page.documents])
    else:
        items = map(to_json, map(projections.summary, page.documents))
    cursor = to_json(str(page.next_cursor) if page.next_cursor else None)
    before, after = ('{"items": [', f'], "next_cursor": {cursor}}}\n') if query.is_paged else ("[", "]\n")
    return json_in_pieces(itertools.chain([before], _separated(items), [after]))


def _whole_runs(parts: Gateway, run_ids: Sequence[str]) -> Iterator[str]:
    """Give the JSON of runs with their records, as little at a time as can be: all of them may be many megabytes."""
    for start in range(0, len(run_ids), _READ_AT_A_TIME):
        found = parts.runs.read_all(run_ids[start : start + _READ_AT_A_TIME])
        with parts.room.held(sum(len(stored.payload) for stored in found)):
            texts = [to_json(run.snapshot.to_document()) for run in decoded(found)]
        yield from texts


def _separated(items: Iterable[str]) -> Iterator[str]:
    for number, item in enumerate(items):
        yield f", {item}" if number else item


@blueprint.get("/runs/<run_id>")
@described()
def get_run(run_id: str, query: RunReadQuery) -> RunAndWorker:
    """Read one run, from the store itself; with ``wait`` when it has ended or the time is over."""
    parts = gateway()
    stored = parts.runs.get(run_id)
    if query.wait and not stored.snapshot.status.is_terminal:
        wait_for_end(parts, run_id, query.wait)
        stored = parts.runs.get(run_id)
    return run_document(parts, stored, with_records=query.wants_all)


@blueprint.get("/runs/<run_id>/tasks")
@described()
def get_tasks(run_id: str) -> projections.TasksView:
    """Read the tasks of a run, with their records."""
    return projections.tasks_view(gateway().runs.get(run_id).snapshot.to_document())


def run_request(
    flow_name: str,
    tag: str | None,
    tags: list[str] | None,
    params: dict[str, Any],
    workflow: Workflow | None = None,
    *,
    policy: RunPolicy | None = None,
) -> RunRequest:
    """Make the caller's request for a run out of checked input."""
    return RunRequest.of(caller(), gateway().config.default_tag, flow_name, tag, tags, params, workflow, policy)


def rerun(run_id: str, *, from_failed: bool, key: str | None) -> Submitted:
    """Submit a run that has ended again.

    :param from_failed: leave out what had succeeded.
    :param key: the same rerun with the same key again is the same new run.
    :raises CannotRunAgain: says why.
    :raises RunNotFound: there is no such run.
    """
    parts = gateway()
    snapshot = parts.runs.get(run_id).snapshot
    return submit(parts, rerun_request(snapshot, parts.workflows, caller(), from_failed=from_failed), key)


def submit(parts: Gateway, wanted: RunRequest, key: str | None) -> Submitted:
    """Submit a run; no list of this gateway is answered without it from now on.

    :param key: the idempotency key, where there is one.
    """
    submitted = parts.submission.submit(wanted) if key is None else parts.submission.submit_once(wanted, key)
    parts.model.note_seen(submitted.revision)
    return submitted


def accepted(submitted: Submitted, workflow: Workflow | None = None) -> Accepted:
    """Give the document that answers a submission."""
    document: Accepted = {"run_id": submitted.run_id, "status": "PENDING"}
    if workflow is not None and workflow.warnings:
        document["warnings"] = [warning.as_dict() for warning in workflow.warnings]
    return document


def workflow_input(sent: Mapping[str, str], where: str) -> WorkflowInput:
    """Read the fields beside a workflow; an empty one counts as none.

    :param where: whether they stand in the ``form`` or in the ``query``.
    :raises InvalidInput: with every fault.
    """
    fields: dict[str, Any] = {name: sent[name] for name in WorkflowInput.model_fields if sent.get(name)}
    if sent.get("params"):
        fields["params"] = read_json_object(sent["params"].encode(), f"{where}.params")
    return read_model(WorkflowInput, fields, where)


def run_document(parts: Gateway, stored: StoredRun, *, with_records: bool) -> dict[str, Any]:
    """Give what is answered of one run: its snapshot, and what is known of its worker. Waits for nobody."""
    document = stored.snapshot.to_document()
    if not with_records:
        document = projections.without_records(document)
    return {**document, **_worker_of(parts, document)}


def _answer(submitted: Submitted, workflow: Workflow | None = None) -> Answer:
    """Give the answer to a submission; a repeated one gets that of the first, with a header that says so."""
    return accepted(submitted, workflow), {"Idempotent-Replayed": "true"} if submitted.is_repeated else {}


def _workflow_of_request() -> tuple[bytes, Mapping[str, str], str]:
    """Find the workflow's text, the fields beside it and where these stand, in whichever way they were sent."""
    kind = request.mimetype
    if kind == "application/json" or kind.endswith("+json"):
        message = "send the file as multipart field 'workflow', or as the body with any other content type"
        raise InvalidInput(faults=[Fault("body", f"is JSON, which is not how a workflow is sent: {message}")])
    if kind == "multipart/form-data":
        upload = request.files.get("workflow")
        text = upload.read() if upload is not None else request.form.get("workflow", "").encode()
        if upload is None and not text:
            raise InvalidInput(faults=[Fault("form.workflow", "is missing: send the flow.yaml in this field")])
        sent: Mapping[str, str] = request.form
        where = "form"
    else:
        text = request.get_data(cache=False)
        sent = request.args
        where = "query"
    return text, sent, where


def _worker_of(parts: Gateway, document: dict[str, Any]) -> dict[str, Any]:
    worker_id = document.get("worker_id")
    # Other programs may have stored what is no id.
    if not isinstance(worker_id, str) or not names.is_key(worker_id):
        return {}
    worker = parts.model.worker(worker_id)
    if worker is None:
        return {}
    timeout_sec = parts.config.worker_disconnect_timeout_sec
    return projections.worker_view(worker, now=time.time(), timeout_sec=timeout_sec)
