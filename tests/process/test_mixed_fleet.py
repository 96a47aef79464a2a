"""Gateways and workers of the published 0.5.1 beside ours on one NATS: every run completes, and nothing is left."""

from __future__ import annotations

import itertools

import pytest
import requests

from tests.support.fleet import flow
from tests.support.mixed import OURS, THEIRS, MixedFleet, sample
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

BOTH = (OURS, THEIRS)
#: Who made the work stream, told by how long it recognises a job, in seconds.
MAKERS = {300: OURS, 120: THEIRS}
#: Gateways, workers, and whose program comes first and makes the streams and buckets.
FLEETS = [
    ((THEIRS,), (OURS,), THEIRS),
    ((THEIRS,), (OURS,), OURS),
    ((OURS,), (THEIRS,), OURS),
    ((OURS,), (THEIRS,), THEIRS),
    (BOTH, BOTH, THEIRS),
    (BOTH, BOTH, OURS),
]
#: How a run can come: by name, or by a graph that either kind of worker reads alike.
GRAPHS = (None, "add_one >> to_text", "(add_one & quick) >> to_text")


def _start(mixed: MixedFleet, gateways: tuple[str, ...], workers: tuple[str, ...], first: str) -> list[str]:
    """Start a fleet, those of ``first`` before the others; gives the addresses of the gateways."""
    urls = []
    for whose in sorted(BOTH, key=lambda whose: whose != first):
        if whose in gateways:
            urls.append(mixed.gateway(whose))
        if whose in workers:
            mixed.worker(whose)
    window_sec = mixed.stream("PYOCO_WORK")["config"]["duplicate_window"] // 1_000_000_000
    assert MAKERS[window_sec] == first
    return urls


def _run_all(mixed: MixedFleet, gateways: tuple[str, ...], workers: tuple[str, ...], first: str, count: int) -> None:
    """Run so many, those that each worker begins with among them."""
    urls = _start(mixed, gateways, workers, first)
    held = _occupy(mixed, urls[0], workers)
    submitted = []
    ways = itertools.cycle(itertools.product(GRAPHS, urls))
    for number, (graph, url) in zip(range(count - len(held)), ways, strict=False):
        workflow = None if graph is None else sample(number, graph)
        submitted.append((mixed.submit(url, {"x": number}, workflow=workflow), f"v={number + 1}"))
    (mixed.folder / "go").touch()
    mixed.assert_completed(submitted)
    assert {mixed.ended(run_id)["status"] for run_id in held} == {"COMPLETED"}
    mixed.assert_nothing_is_left()
    every = {*held, *(run_id for run_id, _ in submitted)}
    for url in urls:
        # A gateway hears of the last ends a moment after they are stored. The list of 0.5.1, which reads key by key,
        # may leave out what is written meanwhile, as the expiry that ours gives.
        eventually(lambda url=url: set(_completed(url)) == every, what=f"every run and no other in the list of {url}")


def _occupy(mixed: MixedFleet, gateway: str, workers: tuple[str, ...]) -> list[str]:
    """Let each worker begin a run that goes on until the file ``go`` is there, so that all have a backlog to share."""
    held = [mixed.submit(gateway, workflow=flow("hold")) for _ in workers]
    holders = {mixed.running(run_id).get("worker_id") for run_id in held}
    # A worker of 0.5.1 does not say in the snapshot that it was it.
    assert holders == {OURS if whose == OURS else None for whose in workers}
    return held


def _completed(url: str) -> list[str]:
    """List the runs that have completed.

    0.5.1 answers some lists with 503 although nothing is wrong (16 of 600 with 200 runs): whoever asks it asks again.
    """
    query = {"limit": "200", "status": "COMPLETED"}
    answer = eventually(lambda: requests.get(f"{url}/runs", params=query, timeout=10), what=f"the list of {url}")
    return [run["run_id"] for run in answer.json()]


@pytest.mark.parametrize(("gateways", "workers", "first"), FLEETS)
def test_every_run_of_a_mixed_fleet_completes(
    mixed: MixedFleet, gateways: tuple[str, ...], workers: tuple[str, ...], first: str
) -> None:
    _run_all(mixed, gateways, workers, first, 20)


@pytest.mark.long
@pytest.mark.parametrize(("gateways", "workers", "first"), FLEETS)
def test_two_hundred_runs_of_a_mixed_fleet_complete(
    mixed: MixedFleet, gateways: tuple[str, ...], workers: tuple[str, ...], first: str
) -> None:
    _run_all(mixed, gateways, workers, first, 200)


def test_our_worker_runs_pyocos_graphs_that_the_published_gateway_took(mixed: MixedFleet) -> None:
    gateway = mixed.gateway(THEIRS)
    mixed.worker(OURS)
    run_id = mixed.submit(gateway, workflow=sample(5, "repeat(count=2) { add_one } >> to_text"))
    mixed.assert_completed([(run_id, "v=6")])
    mixed.assert_nothing_is_left()
