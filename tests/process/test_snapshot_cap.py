"""Runs with more results than a snapshot can hold: something is left out, which is said, and the run goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyoco_server.stores.artifacts import ArtifactStore
from tests.process.conftest import Town
from tests.support.artifacts import Files, marks, saving
from tests.support.crew import Crew
from tests.support.fleet import Fleet, flow

CAP_BYTES = 16_384

#: The flow's name says how many tasks it has, how large their results are, how long their names, and if they are sets.
LARGE_FLOWS = """\
from pyoco import Flow, task

def resolve(name):
    count, result_chars, name_chars, *kind = name.split("-")
    text = "begins so " + "x" * int(result_chars)
    flow = Flow(name=name)
    for number in range(int(count)):
        step = task(lambda: {text} if kind == ["set"] else text)
        step.task.name = f"t{number:03}".ljust(int(name_chars), "_")
        flow = flow >> step
    return flow
"""


@pytest.fixture(scope="module")
def crew(town: Town) -> Iterator[Crew]:
    """One worker with a small cap, for all tests of this file."""
    found = Crew(town.fleet, town.nats.url)
    (town.fleet.folder / "large_flows.py").write_text(LARGE_FLOWS)
    flags = ("--flow-resolver", "large_flows.py:resolve")
    found.hire("one", *flags, PYOCO_MAX_RUN_SNAPSHOT_BYTES=str(CAP_BYTES))
    yield found
    found.dismiss()


def size_of(fleet: Fleet, run_id: str) -> int:
    return len(fleet.bus.last("KV_pyoco_runs", f"$KV.pyoco_runs.{run_id}").payload)


def test_results_are_cut_so_that_one_still_sees_what_they_were(crew: Crew) -> None:
    # Each of them would fit alone.
    run_id = crew.submit(flow_name="4-5000-4")
    run = crew.fleet.ended(run_id)
    assert run["task_records_truncated"] is True
    assert list(run["task_records"]) == ["t000", "t001", "t002", "t003"]
    for record in run["task_records"].values():
        assert record["state"] == "SUCCEEDED"
        assert record["output"].startswith("begins so xx") and record["output"].endswith("bytes in all)")
    files = ArtifactStore(crew.fleet.bus)
    for task, record in run["task_records"].items():
        mark = record["artifacts"][f"{task}/output.txt"]
        assert mark["kept"] is True and mark["is_output"] is True
        kept = files.get(run_id, f"{task}/output.txt")
        assert b"".join(files.chunks(run_id, kept)) == b"begins so " + b"x" * 5_000
    assert 4_000 < size_of(crew.fleet, run_id) <= CAP_BYTES


def test_no_file_is_made_of_a_text_about_an_output(crew: Crew) -> None:
    run_id = crew.submit(flow_name="30-900-4-set")
    run = crew.fleet.ended(run_id)
    assert all(record["output"].endswith("bytes in all)") for record in run["task_records"].values())
    assert ArtifactStore(crew.fleet.bus).of_run(run_id) == []


def test_records_are_left_out_where_cutting_is_not_enough_and_states_stay(crew: Crew) -> None:
    run_id = crew.submit(flow_name="150-5000-4")
    run = crew.fleet.ended(run_id)
    assert (run["task_records"], run["task_records_truncated"]) == ({}, True)
    assert len(ArtifactStore(crew.fleet.bus).of_run(run_id)) == 150
    assert len(run["tasks"]) == 150
    assert set(run["tasks"].values()) == {"SUCCEEDED"}
    assert size_of(crew.fleet, run_id) <= CAP_BYTES


def test_run_whose_task_names_alone_do_not_fit_fails_and_says_why(crew: Crew) -> None:
    fleet = crew.fleet
    run_id = crew.submit(flow_name="150-1-200")
    run = fleet.ended(run_id, "FAILED")
    assert "PYOCO_MAX_RUN_SNAPSHOT_BYTES is 16384" in run["error"]
    assert (run["tasks"], run["task_records_truncated"]) == ({}, True)
    (letter,) = fleet.dead_letters(run_id)
    assert (letter["reason"], letter["error"]) == ("execution_error", run["error"])
    fleet.ended(crew.submit(flow_name="1-1-4"))


def test_an_output_that_the_end_of_the_run_leaves_no_room_for_is_kept_as_a_file(crew: Crew) -> None:
    """It fits as long as the run goes on: what a failed run says of its failure takes the room."""
    files, name = Files(crew.fleet), "middle_text/output.txt"
    run_id = crew.submit(saving("middle_text >> fail_at_length", size=3_500))
    run = crew.fleet.ended(run_id, "FAILED")
    assert run["task_records"]["middle_text"]["output"].endswith("bytes in all)")
    assert marks(run, "middle_text")[name]["is_output"] is True
    assert files.named(run_id) == {name: b"m" * 3_500}


def test_cap_holds_while_the_run_goes_on(crew: Crew) -> None:
    fleet = crew.fleet
    values = {f"value{number}": "v" * 2_000 for number in range(5)}
    workflow = flow("one >> two >> hold", **dict.fromkeys(("one", "two"), "echo_all"))
    run_id = crew.submit(workflow, params={"name": crew.tag, **values})
    crew.wait_for_begin()
    fleet.wait_for_life(run_id)
    run = fleet.run(run_id)
    assert run["task_records_truncated"] is True
    assert run["tasks"] == {"one": "SUCCEEDED", "two": "SUCCEEDED", "hold": "RUNNING"}
    assert size_of(fleet, run_id) <= CAP_BYTES
    crew.let_go()
    fleet.ended(run_id)


def test_parameters_that_leave_no_room_for_a_claim_fail_the_run(crew: Crew) -> None:
    fleet = crew.fleet
    # As a gateway with a larger cap has accepted them.
    run_id = crew.submit(flow_name="1-1-4", params={"text": "p" * CAP_BYTES})
    run = fleet.ended(run_id, "FAILED")
    assert "PYOCO_MAX_RUN_SNAPSHOT_BYTES is 16384" in run["error"]
    assert size_of(fleet, run_id) <= CAP_BYTES
    (letter,) = fleet.dead_letters(run_id)
    assert (letter["reason"], letter["error"]) == ("execution_error", run["error"])
