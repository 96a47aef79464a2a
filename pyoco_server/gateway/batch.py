"""The route that submits many runs at once.

Source: contract, section 3, row ``POST /runs/batch``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, request

from pyoco_server.errors import BusError, BusUnavailable, Fault, InvalidInput, PyocoServerError, SubmissionUncertain
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.description import described
from pyoco_server.gateway.inputs import BatchInput, RunInput, read_model
from pyoco_server.gateway.outputs import Accepted, BatchResult, Problem
from pyoco_server.gateway.problems import problem_of
from pyoco_server.gateway.runs import run_request
from pyoco_server.operations.submit import RunRequest, Submitted
from pyoco_server.workflow.flow_yaml import parse_workflow

logger = logging.getLogger(__name__)

blueprint = Blueprint("batch", __name__)


@blueprint.post("/runs/batch")
@described()
def submit_batch(body: BatchInput) -> BatchResult:
    """Submit up to a thousand runs, each judged by itself."""
    checked = _runs_of(body) if body.runs is not None else _runs_of_workflow(body)
    outcomes = _submit([item for item in checked if isinstance(item, RunRequest)])
    answers = iter(outcomes)
    results = [next(answers) if isinstance(item, RunRequest) else item for item in checked]
    return {"runs": [_result(outcome, index) for index, outcome in enumerate(results)]}


def _runs_of(given: BatchInput) -> list[RunRequest | InvalidInput]:
    def read(item: Any, where: str) -> RunRequest:
        return read_model(RunInput, item, where).request(caller(), gateway().config.default_tag)

    return _each(given.runs or [], "runs", read)


def _runs_of_workflow(given: BatchInput) -> list[RunRequest | InvalidInput]:
    assert given.workflow is not None and given.flow_name is not None, "checked by the model"
    flow_name = given.flow_name
    workflow = parse_workflow(given.workflow, max_bytes=gateway().config.workflow_yaml_max_bytes)

    def read(item: Any, where: str) -> RunRequest:
        if not isinstance(item, dict):
            raise InvalidInput(faults=[Fault(where, "must be a JSON object: the parameters of one run")])
        return run_request(flow_name, given.tag, given.tags, item, workflow, policy=given.policy)

    return _each(given.params or [], "params", read)


def _each(items: Sequence[Any], name: str, read: Callable[[Any, str], RunRequest]) -> list[RunRequest | InvalidInput]:
    found: list[RunRequest | InvalidInput] = []
    for index, item in enumerate(items):
        try:
            found.append(read(item, f"body.{name}.{index}"))
        except InvalidInput as exc:
            found.append(exc.without_frames())
    return found


def _submit(requests: Sequence[RunRequest]) -> list[Submitted | PyocoServerError]:
    """Submit what was valid.

    :raises BusUnavailable: NATS took none of the runs, so that the whole batch is to be sent again.
    """
    outcomes = gateway().submission.submit_each(requests)
    revisions = [outcome.revision for outcome in outcomes if isinstance(outcome, Submitted)]
    unserved = [outcome for outcome in outcomes if isinstance(outcome, (BusError, BusUnavailable))]
    if unserved:
        logger.warning("%d of %d runs of a batch were not accepted: %s", len(unserved), len(outcomes), unserved[0])
    if revisions:
        gateway().model.note_seen(max(revisions))
    is_safe_to_repeat = not any(isinstance(error, SubmissionUncertain) for error in unserved)
    if unserved and len(unserved) == len(outcomes) and is_safe_to_repeat:
        raise unserved[0]
    return outcomes


def _result(outcome: Submitted | PyocoServerError, index: int) -> Accepted | Problem:
    if isinstance(outcome, Submitted):
        return {"run_id": outcome.run_id, "status": "PENDING"}
    return problem_of(outcome, f"{request.path}#/runs/{index}")
