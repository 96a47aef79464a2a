"""A run that costs each worker its life, with real kills."""

from __future__ import annotations

import pytest

from tests.conftest import Gateway
from tests.support.crew import Crew
from tests.support.fleet import QUICK

SETTINGS = {**QUICK, "PYOCO_CONSUMER_MAX_DELIVER": "2"}


@pytest.mark.long
def test_run_whose_workers_are_all_killed_fails_at_the_limit_and_is_not_begun_again(
    crew: Crew, gateway: Gateway
) -> None:
    fleet = crew.fleet
    first = crew.hire("first", **SETTINGS)
    run_id = crew.submit_held()
    crew.wait_for_begin()
    first.kill()
    second = crew.hire("second", **SETTINGS)
    crew.wait_for_begin(2)
    second.kill()
    # Somebody has to ask for jobs, or the queue does not find that there was one too many.
    third = crew.hire("third", **SETTINGS)
    run = fleet.ended(run_id, "FAILED", timeout_sec=40)
    assert run["error"] == "max_deliveries: the job was delivered 2 times without an end."
    assert (run["attempt"], run["worker_id"]) == (2, second.worker_id)
    (letter,) = fleet.dead_letters(run_id)
    assert (letter["reason"], letter["error"]) == ("max_deliveries", run["error"])
    assert fleet.queue_is_empty()
    assert len(crew.begun()) == 2
    assert third.stop() == 0
