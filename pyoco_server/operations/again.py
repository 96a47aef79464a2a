"""Submitting a run again, from what is stored of an earlier one.

Source: design, section 4.
"""

from __future__ import annotations

from dataclasses import replace

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import CannotRunAgain
from pyoco_server.operations.authenticate import Caller
from pyoco_server.operations.submit import RunRequest
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


def _workflow_of(snapshot: Snapshot, workflows: WorkflowStore) -> Workflow | None:
    if snapshot.workflow_yaml_sha256 is None:
        return None
    text = workflows.get(snapshot.workflow_yaml_sha256)
    if text is None:
        raise CannotRunAgain(f"The workflow of run {snapshot.run_id} is not kept any more: submit it as a new run.")
    return parse_workflow(text)
