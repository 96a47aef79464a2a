"""How workers hear of jobs: between two runs, and while no slot is free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import nats.aio.msg

from tests.support.commands import Daemon
from tests.support.fleet import Fleet, flow
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

MANY = [f"tag{number}" for number in range(60)]
QUICK_FLOW = flow("quick")


@contextmanager
def listening(fleet: Fleet, subject: str) -> Iterator[list[str]]:
    """Give the subjects of all messages that match, as they are sent."""
    heard: list[str] = []

    def take(message: nats.aio.msg.Msg) -> None:
        heard.append(message.subject)

    subscription = fleet.bus.call(fleet.bus.subscribe(subject, take), timeout_sec=30)
    yield heard
    fleet.bus.call(subscription.unsubscribe(), timeout_sec=30)


def start_worker(start: Callable[..., Daemon], server: NatsServer, tags: list[str]) -> None:
    worker = start("pyoco-worker", "--nats-url", server.url, "--tags", ",".join(tags))
    worker.wait_for_log("the worker serves")


def held(fleet: Fleet, name: str) -> str:
    """Submit a run that goes on until its file is there, and wait until it has begun."""
    run_id = fleet.submit(flow("hold", {"name": name}), tag="a")
    fleet.running(run_id)
    return run_id


def test_between_two_runs_a_worker_looks_at_the_counts_of_no_tag_of_which_it_has_heard_nothing(
    fleet: Fleet, start: Callable[..., Daemon], nats: NatsServer
) -> None:
    start_worker(start, nats, MANY)
    fleet.ended(fleet.submit(QUICK_FLOW, tag=MANY[0]))
    with listening(fleet, "$JS.API.CONSUMER.INFO.PYOCO_WORK.*") as looks:
        for tag in MANY[:5]:
            fleet.ended(fleet.submit(QUICK_FLOW, tag=tag))
        # Where a job is stored long after it was told of, its own tag is looked at.
        assert not [subject for subject in looks if not subject.endswith(tuple(MANY[:5]))]


def test_worker_without_room_passes_on_the_first_job_of_a_tag_and_hears_of_it_again_once_it_had_room(
    fleet: Fleet, start: Callable[..., Daemon], nats: NatsServer
) -> None:
    start_worker(start, nats, ["a", "b"])
    with listening(fleet, "pyoco_hint.pyoco.work.b") as passed_on:
        for name in ("go1", "go2"):
            passed_on.clear()
            run_id = held(fleet, name)
            waiting = [fleet.submit(QUICK_FLOW, tag="b")]
            eventually(lambda: passed_on, what="the hint that is passed on", timeout_sec=30)
            # Nobody is left in the group of this tag.
            waiting += [fleet.submit(QUICK_FLOW, tag="b") for _ in range(2)]
            fleet.touch(name)
            for each in [run_id, *waiting]:
                fleet.ended(each, timeout_sec=60)
            assert len(passed_on) == 1
