"""Submitting a flow.yaml by a form; what is wrong with it is shown at its line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from pyoco_server.errors import Fault, InvalidInput, TooLarge
from pyoco_server.gateway.admission import caller, require_run
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.inputs import RunInput, read_json_object, read_model
from pyoco_server.gateway.pages.frame import render, run_address
from pyoco_server.gateway.runs import run_request
from pyoco_server.operations.submit import RunRequest
from pyoco_server.readmodel.reports import Reports
from pyoco_server.workflow.flow_yaml import Workflow, parse_workflow

blueprint = Blueprint("submit_page", __name__)

#: Lines shown around a fault, and faults shown with their lines.
_LINES_AROUND, _MAX_PLACES = 3, 5
_FIELDS = ("workflow", "flow_name", "tag", "tags", "params")


@dataclass(frozen=True)
class Excerpt:
    """Lines around a fault.

    :param lines: their numbers and texts.
    """

    fault: Fault
    lines: list[tuple[int, str]]


@blueprint.get("/ui/submit")
def form() -> Response:
    """Show the form; with ``from``, filled with the flow and the parameters of that run."""
    values = {"flow_name": "main"}
    source = request.args.get("from")
    if source:
        values = _values_of_run(source)
    return _form(values)


@blueprint.post("/ui/submit")
def submit() -> AnyResponse:
    """Submit the flow, or only check it; a refusal shows the form as it was sent."""
    sent = {name: request.form.get(name, "") for name in _FIELDS}
    # Browsers send line ends of their own; as a file the same text has the same hash.
    sent["workflow"] = sent["workflow"].replace("\r\n", "\n")
    file = sent["workflow"].encode(errors="replace")
    upload = request.files.get("file")
    if upload is not None and upload.filename:
        file = upload.read()
        sent["workflow"] = file.decode(errors="replace")
    try:
        asked = _read(file, sent)
    except (InvalidInput, TooLarge) as exc:
        faults = exc.faults if isinstance(exc, InvalidInput) else (Fault("", exc.detail),)
        if len(file) > gateway().config.workflow_yaml_max_bytes:
            # The page would be as large.
            sent["workflow"] = ""
        return _form(sent, faults=faults, err_id=exc.err_id, status=exc.http_status)
    if request.form.get("check"):
        return _form(sent, checked=asked.workflow)
    submitted = gateway().submission.submit(asked)
    gateway().model.note_seen(submitted.revision)
    return redirect(run_address(submitted.run_id), 303)


def _read(file: bytes, sent: Mapping[str, str]) -> RunRequest:
    """Check what was sent.

    :raises InvalidInput: with each fault; those of the file have its lines.
    :raises WorkflowTooLarge: the file is too large.
    """
    fields: dict[str, Any] = {name: sent[name].strip() for name in ("flow_name", "tag") if sent[name].strip()}
    if sent["params"].strip():
        fields["params"] = read_json_object(sent["params"].encode(errors="replace"), "form.params")
    fields["tags"] = [label.strip() for label in sent["tags"].split(",") if label.strip()]
    given = read_model(RunInput, fields, "form")
    workflow = parse_workflow(file, max_bytes=gateway().config.workflow_yaml_max_bytes)
    return run_request(given.flow_name, given.tag, given.tags, given.params, workflow)


def _form(
    values: Mapping[str, str],
    *,
    faults: tuple[Fault, ...] = (),
    err_id: str | None = None,
    checked: Workflow | None = None,
    status: int = 200,
) -> Response:
    lines = values.get("workflow", "").splitlines()
    placed = [fault for fault in faults if fault.line is not None and not fault.loc.startswith("form.")]
    return render(
        "submit.html",
        status=status,
        values={name: values.get(name, "") for name in _FIELDS},
        excerpts=[_excerpt(fault, lines) for fault in placed[:_MAX_PLACES]],
        faults=[fault for fault in faults if fault not in placed[:_MAX_PLACES]],
        err_id=err_id,
        checked=checked,
        tags=Reports(gateway().model, caller().tenant_id).tags(),
        default_tag=gateway().config.default_tag,
        max_bytes=gateway().config.workflow_yaml_max_bytes,
        host_url=request.host_url,
    )


def _excerpt(fault: Fault, lines: list[str]) -> Excerpt:
    line = fault.line or 1
    first = max(1, line - _LINES_AROUND)
    return Excerpt(fault, [(number, lines[number - 1]) for number in range(first, min(len(lines), line + 3) + 1)])


def _values_of_run(run_id: str) -> dict[str, str]:
    """Give the form as a run was submitted.

    :raises RunNotFound: there is no such run.
    """
    require_run(run_id)
    snapshot = gateway().runs.get(run_id).snapshot
    sha256 = snapshot.workflow_yaml_sha256
    return {
        "workflow": (gateway().workflows.get(sha256) if sha256 else None) or "",
        "flow_name": snapshot.flow_name,
        "tag": snapshot.tag,
        "tags": ", ".join(_labels(snapshot.tags)),
        "params": json.dumps(snapshot.params, ensure_ascii=False, indent=2) if snapshot.params else "",
    }


def _labels(stored: Any) -> list[str]:
    """Give the labels of a run; other programs may have stored anything."""
    return [label for label in stored if isinstance(label, str)] if isinstance(stored, list) else []
