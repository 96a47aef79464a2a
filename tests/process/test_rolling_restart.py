"""Every part of a site is stopped in order and started again, one after the other, while clients go on submitting."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.chaos.clients import Clients, Demand
from tests.chaos.site import GATEWAYS, SETTINGS, WORKERS, Site, opened
from tests.chaos.verdict import faults, read_ledger, settle
from tests.support.parts import Parts
from tests.support.waiting import PATIENCE_SEC, eventually

pytestmark = pytest.mark.long

#: A run whose three tasks in a row take so long each is cut off when its worker stops.
LONG_SEC = float(SETTINGS["PYOCO_DRAIN_SEC"]) + 1
#: All of them are to complete; a few are in hand whenever a worker stops.
DEMAND = Demand(pauses_sec=(*8 * (0.0,), *6 * (0.1,), 0.5, LONG_SEC), failing=0.0, cancelled=0.0)
TASKS = ("first", "left", "right", "last")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(Site(tmp_path, random.Random(0))) as found:
        yield found


def has_begun_long_run(site: Site, worker_id: str) -> bool:
    """Say whether a worker has just begun a run that will outlast its stop."""
    answer = requests.get(f"{site.urls[0]}/runs?status=RUNNING&include=full&limit=200", timeout=10)
    now = time.time()
    return any(
        run["worker_id"] == worker_id and run["params"]["pause"] == LONG_SEC and now - run["start_time"] < 2
        for run in answer.json()
    )


def hand_backs(site: Site) -> Counter[str]:
    """Count by run how often a worker that stopped has let go of it, by the workers' own words."""
    logs = [site.folder / f"worker-{number}.log" for number in range(WORKERS)]
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines() if line.startswith("{")]
    return Counter(
        line["run_id"] for line in lines if line["message"] == "a run is handed back because the worker stops"
    )


def test_a_rolling_restart_of_everything_under_load_loses_and_doubles_nothing(site: Site) -> None:
    clients = Clients(site.urls, seed=0, demand=DEMAND)
    try:
        for number in range(WORKERS):
            eventually(
                lambda worker_id=f"w{number}": has_begun_long_run(site, worker_id),
                what=f"a long run in the hands of w{number}",
                timeout_sec=PATIENCE_SEC,
            )
            site.restart(f"worker-{number}")
        for part in [*(f"gateway-{number}" for number in range(GATEWAYS)), site.nats.nodes[0].name]:
            site.restart(part)
            count = len(clients.accepted) + 10
            eventually(
                lambda wanted=count: len(clients.accepted) >= wanted,
                what=f"submissions after the restart of {part}",
                timeout_sec=PATIENCE_SEC,
            )
    finally:
        clients.stop()

    assert clients.faults == []
    # Nothing but a connection that a stopping gateway has refused or closed, and a 503 that says when to come again.
    assert set(clients.tried_again) <= {"ConnectionError", "503"}
    with Parts(site.nats.url) as parts:
        runs = settle(parts, clients.accepted)
        ledger = read_ledger(site.folder / "ledger")
        assert faults(runs, ledger, site.hits, parts, clients.accepted) == []
        assert parts.dead_letters.count() == 0
    handed_back = hand_backs(site)
    assert handed_back, "no run was cut off, so the test has not shown what it is for"
    assert Counter(run["status"] for run in runs.values()) == {"COMPLETED": len(runs)}
    attempts = {run["run_id"]: run["attempt"] for run in runs.values()}
    assert attempts == {run_id: 1 + handed_back[run_id] for run_id in attempts}
    begun = Counter((entry.name, entry.task) for entry in ledger)
    whole = {name: run for name, run in runs.items() if run["run_id"] not in handed_back}
    assert {(name, task): begun[name, task] for name in whole for task in TASKS} == {
        (name, task): 1 for name in whole for task in TASKS
    }
