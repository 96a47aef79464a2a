"""Having a worker stop from afar: it ends what it has, takes nothing new, and is gone."""

from __future__ import annotations

import json
import signal

import pytest

from pyoco_server.states import TERMINAL
from tests.support.fleet import QUICK, flow
from tests.support.plant import Plant


def drain(plant: Plant, worker_id: str) -> float:
    done = plant.command("worker-drain", "--worker-id", worker_id)
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer.keys() == {"worker_id", "drain_requested_at"} and answer["worker_id"] == worker_id
    return float(answer["drain_requested_at"])


def test_a_drained_worker_ends_its_runs_takes_no_more_and_is_gone_until_it_is_started_again(plant: Plant) -> None:
    worker = plant.hire("--worker-id", "one", "--concurrency", "2", **QUICK)
    held = plant.submit(flow("hold"), params={"name": "first"})
    plant.fleet.running(held)
    asked_at = drain(plant, "one")
    worker.wait_for_log("somebody has asked the worker to drain")
    worker.wait_for_log("the worker takes no more runs")
    late = plant.submit(flow("quick"))
    assert drain(plant, "one") == asked_at
    assert worker.process.poll() is None
    plant.fleet.touch("first")
    assert worker.process.wait(30) == 0
    assert plant.fleet.ended(held)["attempt"] == 1
    record = plant.fleet.worker("one")
    assert (record["state"], record["drain_requested_at"]) == ("STOPPED_GRACEFUL", asked_at)
    assert plant.client.get_run(late)["status"] == "PENDING"
    again = plant.hire("--worker-id", "one", **QUICK)
    plant.fleet.ended(late)
    assert plant.fleet.worker("one")["drain_requested_at"] is None
    drain(plant, "one")
    assert again.process.wait(30) == 0


@pytest.mark.parametrize("count", [1, 2])
def test_after_a_drain_the_first_signal_waits_for_runs_and_the_second_does_not(plant: Plant, count: int) -> None:
    worker = plant.hire("--worker-id", f"signalled-{count}", **QUICK)
    held = plant.submit(flow("hold"), params={"name": f"signalled-{count}"})
    plant.fleet.running(held)
    drain(plant, f"signalled-{count}")
    worker.wait_for_log("runs may go on for")
    # Two of one kind may become one when they come at the same time.
    for number in (signal.SIGTERM, signal.SIGINT)[:count]:
        worker.process.send_signal(number)
    if count == 2:
        assert worker.process.wait(30) == 0
        assert not plant.fleet.is_over(held)
        plant.client.cancel_run(held, wait=True)
        return
    plant.fleet.touch(f"signalled-{count}")
    assert worker.process.wait(30) == 0
    plant.fleet.ended(held)


def test_a_drain_between_two_signals_does_not_make_a_first_one_of_the_second(plant: Plant) -> None:
    worker = plant.hire("--worker-id", "hurried", **QUICK)
    held = plant.submit(flow("hold"), params={"name": "hurried"})
    plant.fleet.running(held)
    worker.process.send_signal(signal.SIGTERM)
    worker.wait_for_log("runs may go on for")
    drain(plant, "hurried")
    worker.wait_for_log("somebody has asked the worker to drain")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(60) == 0
    assert plant.client.get_run(held)["status"] not in TERMINAL
    plant.client.cancel_run(held, wait=True)


def test_a_worker_that_is_not_there_cannot_be_drained(plant: Plant) -> None:
    done = plant.command("worker-drain", "--worker-id", "nobody")
    assert (done.returncode, done.stdout) == (1, "") and "404" in done.stderr
