"""Submitting a run again, from what is stored of an earlier one.

Source: design, section 4.
"""

from __future__ import annotations

from dataclasses import replace

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import CannotRunAgain
from pyoco_server.operations.authenticate import Caller
from pyoco_server.operations.submit import RunRequest
from pyoco_server.states import RunStatus
from pyoco_server.stores.workflows import WorkflowStore
from pyoco_server.workflow.flow_yaml import Workflow, parse_workflow


def request_again(snapshot: Snapshot, workflows: WorkflowStore, caller: Caller) -> RunRequest:
    """Make the request for another run of the same flow with the same parameters, tags and tenant.

    :raises CannotRunAgain: not everything that is needed is kept.
    :raises WorkflowInvalid: this gateway takes the run's workflow no longer.
    :raises BusUnavailable: no answer; safe to repeat.
    """
    return RunRequest(
        # Where no keys are asked for the caller has no tenant, and the run may have one.
        replace(caller, tenant_id=snapshot.tenant_id),
        snapshot.flow_name,
        snapshot.tag,
        list(snapshot.tags),
        dict(snapshot.params),
        _workflow_of(snapshot, workflows),
        snapshot.policy,
    )


def rerun_request(snapshot: Snapshot, workflows: WorkflowStore, caller: Caller, *, from_failed: bool) -> RunRequest:
    """Make the request for a rerun.

    :param from_failed: leave out what had succeeded, where its result can be put back.
    :raises CannotRunAgain: the run has not ended, or has nothing that failed; all else as :func:`request_again`.
    """
    if not snapshot.status.is_terminal:
        raise CannotRunAgain(
            f"Run {snapshot.run_id} has not ended: it is {snapshot.status}. Wait for its end, or cancel it."
        )
    if from_failed and snapshot.status is RunStatus.COMPLETED:
        raise CannotRunAgain(f"Nothing of run {snapshot.run_id} has failed: it is COMPLETED. Rerun all of it.")
    request = replace(request_again(snapshot, workflows, caller), rerun_of=snapshot.run_id)
    if not from_failed:
        return request
    policy = replace(request.policy, resume=True)
    return replace(request, policy=policy, finished=snapshot.finished_records, wheels=snapshot.wheels)


def _workflow_of(snapshot: Snapshot, workflows: WorkflowStore) -> Workflow | None:
    if snapshot.workflow_yaml_sha256 is None:
        return None
    text = workflows.get(snapshot.workflow_yaml_sha256)
    if text is None:
        raise CannotRunAgain(f"The workflow of run {snapshot.run_id} is not kept any more: submit it as a new run.")
    return parse_workflow(text)
