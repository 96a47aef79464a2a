"""Dead letters of runs that have failed, as an operator has asked for them."""

from __future__ import annotations

import json

from tests.support.crew import Crew
from tests.support.fleet import flow
from tests.support.waiting import PATIENCE_SEC


def test_operator_may_do_without_dead_letters_of_tasks_that_raise(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    crew.hire("quiet", PYOCO_DLQ_PUBLISH_EXECUTION_ERROR="false")
    raised, unknown, died = crew.submit(flow("fail")), crew.submit(), crew.submit(flow("kill_itself"))
    for run_id in (raised, unknown, died):
        fleet.ended(run_id, "FAILED")
    letters = [(letter["run_id"], letter["reason"]) for letter in fleet.dead_letters()]
    assert letters == [(unknown, "flow_not_found"), (died, "worker_process_died")]


def test_run_whose_task_a_worker_may_not_execute_fails_with_what_to_do(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    (fleet.folder / "fine_tasks.py").write_text("from os import system\n\n\ndef one():\n    return 1\n")
    worker = crew.hire("limited", "--allow", "fine_tasks", "--allow", "other.*")
    fine = crew.submit(flow("t", t="fine_tasks:one"))
    assert fleet.ended(fine)["task_records"]["t"]["output"] == 1
    defined = "posix:system (of task t; that is where it is defined)"
    for path, told in {"os:system": "os:system (of task t)", "fine_tasks:system": defined}.items():
        run_id = crew.submit(flow("t", t=path))
        error = fleet.ended(run_id, "FAILED")["error"]
        assert error == (
            f"flow_not_found: {told}: it is not among what this worker may execute: fine_tasks, other.*. Whoever runs "
            "the worker can add it with --allow."
        )
        (letter,) = fleet.dead_letters(run_id)
        assert (letter["reason"], letter["error"]) == ("flow_not_found", error)
        # It is written after the acknowledgement.
        entry = worker.wait_for_log(rf"\n(.*{run_id}.*ERR-PYOCO.*)\n", timeout_sec=PATIENCE_SEC)[1]
        assert json.loads(entry)["err_id"] == "ERR-PYOCO-0006"


def test_flow_that_no_worker_knows_is_told_by_its_name(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    (fleet.folder / "resolvers.py").write_text("def know_nothing(name):\n    return {}[name]\n")
    worker = crew.hire("stranger", "--flow-resolver", "resolvers.py:know_nothing")
    run_id = crew.submit(flow_name="nightly")
    run = fleet.ended(run_id, "FAILED")
    assert run["error"] == "flow_not_found: nightly (the resolver does not know it)"
    (letter,) = fleet.dead_letters(run_id)
    del letter["timestamp"]
    assert letter == {
        "reason": "flow_not_found",
        "error": run["error"],
        "run_id": run_id,
        "flow_name": "nightly",
        "tag": crew.tag,
        "tags": ["t"],
        "tenant_id": None,
        "api_key_id": None,
        "worker_id": worker.worker_id,
    }
