"""How workers fetch jobs: of several tags, under a backlog, idle, stopped, and when NATS is in trouble."""

from __future__ import annotations

import signal
import statistics
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pyoco_server.config import Config
from pyoco_server.stores.queue import Queue
from tests.support.commands import Daemon
from tests.support.fleet import QUICK, Fleet, flow
from tests.support.nats import NatsServer

FIVE = ["a", "b", "c", "d", "e"]
QUICK_FLOW = flow("quick >> after")


@pytest.fixture
def start_workers(start: Callable[..., Daemon], nats: NatsServer) -> Callable[..., list[Daemon]]:
    """Starts several workers of the same tags side by side; returns when all serve."""

    def start_some(count: int, tags: list[str], *flags: str, **env: str) -> list[Daemon]:
        command = ("pyoco-worker", "--nats-url", nats.url, "--tags", ",".join(tags), *flags)
        workers = [start(*command, **env) for _ in range(count)]
        for worker in workers:
            worker.wait_for_log("the worker serves")
        return workers

    return start_some


def consumer(fleet: Fleet, tag: str) -> dict[str, Any]:
    return fleet.bus.api(f"CONSUMER.INFO.PYOCO_WORK.pyoco_workers_{tag}")


def delivery_count(fleet: Fleet, tag: str) -> int:
    """Say how often jobs of the tag were handed out; the consumer counts each delivery, repeated ones too."""
    return int(consumer(fleet, tag)["delivered"]["consumer_seq"])


def queued_count(fleet: Fleet) -> int:
    return int(fleet.bus.api("STREAM.INFO.PYOCO_WORK")["state"]["messages"])


def submit_backlog(fleet: Fleet, tags: list[str], count: int) -> list[str]:
    """Queue so many short runs under each tag, one tag after the other."""
    return [fleet.submit(QUICK_FLOW, tag=tag) for tag in tags for _ in range(count)]


def all_ended(fleet: Fleet, run_ids: list[str], *, timeout_sec: float = 25.0) -> list[dict[str, Any]]:
    """Wait until the queue is empty; give the snapshots, which must all be COMPLETED."""
    fleet.wait_until(fleet.queue_is_empty, "the end of all runs", timeout_sec)
    runs = [fleet.run(run_id) for run_id in run_ids]
    assert Counter(run["status"] for run in runs) == {"COMPLETED": len(runs)}
    return runs


@pytest.mark.long
def test_fleet_of_five_tag_workers_under_a_backlog_burns_no_delivery_and_starves_no_tag(
    fleet: Fleet, start_workers: Callable[..., list[Daemon]]
) -> None:
    run_ids = submit_backlog(fleet, FIVE, 24)
    start_workers(4, FIVE)
    runs = all_ended(fleet, run_ids)
    assert {run["attempt"] for run in runs} == {1}
    assert {tag: delivery_count(fleet, tag) for tag in FIVE} == dict.fromkeys(FIVE, 24)
    first_half = sorted(runs, key=lambda run: run["start_time"])[:60]
    share = Counter(run["tag"] for run in first_half)
    assert all(share[tag] >= 6 for tag in FIVE), share


def test_idle_worker_with_five_tags_begins_a_run_as_soon_as_one_with_a_single_tag(
    fleet: Fleet, start_workers: Callable[..., list[Daemon]]
) -> None:
    start_workers(1, FIVE)
    start_workers(1, ["single"])
    waits: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(15):
        for tag in ("single", FIVE[turn % 5]):
            run = fleet.ended(fleet.submit(QUICK_FLOW, tag=tag))
            waits[tag == "single"].append(run["start_time"] - run["submitted_at"])
    one, five = statistics.median(waits[True]), statistics.median(waits[False])
    assert five < 3 * one + 0.02, (one, five)


def test_runs_submitted_together_are_begun_together_by_idle_workers(
    fleet: Fleet, start_workers: Callable[..., list[Daemon]]
) -> None:
    """Mostly one of the three hears of two runs, and passes on what it has no room for."""
    start_workers(3, FIVE)
    waits = []
    for _ in range(9):
        with ThreadPoolExecutor(3) as submitters:
            run_ids = list(submitters.map(lambda _: fleet.submit(QUICK_FLOW, tag="c"), range(3)))
        runs = [fleet.ended(run_id) for run_id in run_ids]
        waits.append(max(run["start_time"] - run["submitted_at"] for run in runs))
    alone = []
    for _ in range(9):
        run = fleet.ended(fleet.submit(QUICK_FLOW, tag="c"))
        alone.append(run["start_time"] - run["submitted_at"])
    # Without the hints that are passed on it takes a second more, until the tag has its turn.
    assert statistics.median(waits) < 4 * statistics.median(alone) + 0.3
    assert delivery_count(fleet, "c") == 36


def test_jobs_beyond_max_ack_pending_stop_no_other_tag_and_come_as_soon_as_there_is_room(
    fleet: Fleet, start_workers: Callable[..., list[Daemon]]
) -> None:
    start_workers(1, ["a", "b"], "--concurrency", "3", PYOCO_CONSUMER_MAX_ACK_PENDING="1")
    held = fleet.submit(flow("hold"), tag="a")
    fleet.running(held)
    waiting = submit_backlog(fleet, ["a"], 12)
    others = [fleet.ended(fleet.submit(QUICK_FLOW, tag="b")) for _ in range(3)]
    assert len(others) == 3 and not any(fleet.is_over(run_id) for run_id in waiting)
    fleet.touch("go")
    # One that is asked once a second, because nothing tells of the room, needs twelve seconds.
    all_ended(fleet, [held, *waiting], timeout_sec=10)
    assert delivery_count(fleet, "a") == 13


def test_jobs_that_were_handed_back_come_one_upon_the_other(
    fleet: Fleet, start_workers: Callable[..., list[Daemon]]
) -> None:
    queue = Queue(fleet.bus, Config.from_env({}))
    queue.ensure("a")
    run_ids = submit_backlog(fleet, ["a"], 20)
    deliveries = [queue.pull("a", wait_sec=10) for _ in run_ids]
    start_workers(1, ["a", "b"])
    fleet.ended(fleet.submit(QUICK_FLOW, tag="b"))
    for delivery in deliveries:
        assert delivery is not None
        queue.deliveries.nak(delivery)
    # Nothing tells of them. One for each time that their tag is asked, which is once a second, needs twenty seconds.
    all_ended(fleet, run_ids, timeout_sec=12)


def test_consumer_deleted_under_a_worker_is_made_again_and_jobs_go_on(
    fleet: Fleet, start_workers: Callable[..., list[Daemon]]
) -> None:
    start_workers(1, ["a", "b"], "--concurrency", "2")
    held = fleet.submit(flow("hold"), tag="a")
    fleet.running(held)
    settings = consumer(fleet, "a")["config"]
    fleet.bus.api("CONSUMER.DELETE.PYOCO_WORK.pyoco_workers_a")
    fleet.ended(fleet.submit(QUICK_FLOW, tag="a"))
    fleet.ended(fleet.submit(QUICK_FLOW, tag="b"))
    made_again = consumer(fleet, "a")["config"]
    assert {name: made_again[name] for name in settings} == settings
    # The new consumer hands out the job of the run in hand once more: that must not begin it a second time.
    fleet.touch("go")
    assert fleet.ended(held)["attempt"] == 1
    assert (fleet.folder / "go.begun").read_text().count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_fetching_goes_on_after_a_restart_of_nats_idle_or_under_a_backlog(
    fleet: Fleet, nats: NatsServer, start_workers: Callable[..., list[Daemon]], number: int
) -> None:
    start_workers(2, FIVE, **QUICK)
    fleet.ended(fleet.submit(QUICK_FLOW, tag="a"))
    nats.stop(number)
    nats.start()
    fleet.ended(fleet.submit(QUICK_FLOW, tag="b"))
    run_ids = submit_backlog(fleet, FIVE, 60)
    nats.stop(number)
    nats.start()
    rest = queued_count(fleet)
    assert rest > 0, "the backlog was done before the restart: this shows nothing"
    # Fetching that does not go on never ends.
    all_ended(fleet, run_ids, timeout_sec=120)


@pytest.mark.long
def test_workers_stopped_under_a_backlog_strand_no_job(
    fleet: Fleet, start_workers: Callable[..., list[Daemon]]
) -> None:
    """What a stopped worker has kept would come back after ten minutes."""
    run_ids = submit_backlog(fleet, FIVE, 80)
    workers = start_workers(3, FIVE, PYOCO_CONSUMER_ACK_WAIT_SEC="600")
    fleet.wait_until(lambda: queued_count(fleet) < 390, "the work being under way")
    for worker in workers[:2]:
        worker.process.send_signal(signal.SIGTERM)
    assert [worker.process.wait(30) for worker in workers[:2]] == [0, 0]
    assert queued_count(fleet) > 0, "the backlog was done before the workers stopped: this shows nothing"
    runs = all_ended(fleet, run_ids, timeout_sec=180)
    assert {run["attempt"] for run in runs} == {1}
    # A worker that stops may hand back the one job for which it had asked.
    assert 400 <= sum(delivery_count(fleet, tag) for tag in FIVE) <= 402
