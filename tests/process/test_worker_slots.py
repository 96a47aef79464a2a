"""Places for runs: how many at a time, in which processes, and of which tags."""

from __future__ import annotations

import pytest

from tests.support.crew import Crew
from tests.support.fleet import Fleet, flow, runners_of


def test_two_places_execute_two_runs_side_by_side_and_no_third(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("two", "--concurrency", "2")
    runs = [crew.submit_held() for _ in range(3)]
    assert len(set(crew.wait_for_begin(2))) == 2

    def running() -> list[str]:
        return [run_id for run_id in runs if fleet.run(run_id)["status"] == "RUNNING"]

    fleet.wait_until(lambda: len(fleet.worker(worker.worker_id)["current_run_ids"]) == 2, "both in the registry")
    record = fleet.worker(worker.worker_id)
    assert (record["state"], record["concurrency"]) == ("RUNNING", 2)
    assert sorted(record["current_run_ids"]) == sorted(running())
    assert record["current_run_id"] in record["current_run_ids"]
    # Both have shown that they are alive, and the third still waits.
    for run_id in running():
        fleet.wait_for_life(run_id)
    assert len(running()) == len(crew.begun()) == 2
    crew.let_go()
    for run_id in runs:
        fleet.ended(run_id)
    fleet.wait_until(lambda: fleet.worker(worker.worker_id)["state"] == "IDLE", "the idle worker in the registry")
    record = fleet.worker(worker.worker_id)
    assert (record["current_run_id"], record["current_run_ids"]) == (None, [])


@pytest.mark.parametrize(("flags", "process_count"), [(["--max-runs-per-child", "1"], 4), ([], 1)])
def test_process_serves_as_many_runs_as_it_may(town_crew: Crew, flags: list[str], process_count: int) -> None:
    crew, fleet = town_crew, town_crew.fleet
    worker = crew.hire("one", *flags)
    runs = [fleet.ended(crew.submit(flow("quick"))) for _ in range(4)]
    assert len({run["task_records"]["quick"]["output"] for run in runs}) == process_count
    # Those that have served are gone.
    fleet.wait_until(lambda: len(runners_of(worker)) <= 2, "the end of runners that are not used again")


def test_every_one_of_five_tags_is_served(town_crew: Crew) -> None:
    crew, fleet = town_crew, town_crew.fleet
    tags = [f"{crew.tag}-{name}" for name in "abcde"]
    early = [crew.submit(flow("quick"), tag=tag) for tag in tags]
    worker = crew.hire("all", "--tags", ",".join(tags))
    for run_id in early:
        fleet.ended(run_id)
    # And again when it is idle, in another order, without a tag waiting for the turn of the others.
    late = [fleet.ended(crew.submit(flow("quick"), tag=tag)) for tag in reversed(tags)]
    assert {run["attempt"] for run in late} == {1}
    assert sum(run["start_time"] - run["submitted_at"] for run in late) < 0.5
    assert fleet.worker(worker.worker_id)["tags"] == tags
    assert no_other_tag_is_served(crew, fleet)


def no_other_tag_is_served(crew: Crew, fleet: Fleet) -> bool:
    """Say whether a run of a tag that nobody serves still waits."""
    other = crew.submit(flow("quick"), tag=f"{crew.tag}-f")
    fleet.ended(crew.submit(flow("quick"), tag=f"{crew.tag}-a"))
    return bool(fleet.run(other)["status"] == "PENDING")
