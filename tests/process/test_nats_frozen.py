"""NATS answers nothing for a minute, with all connections open, while runs go on."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.chaos.clients import Clients, Demand
from tests.chaos.site import Site, opened
from tests.chaos.verdict import faults, read_ledger, settle
from tests.support.commands import is_ready
from tests.support.parts import Parts
from tests.support.waiting import PATIENCE_SEC, eventually

pytestmark = pytest.mark.long

FROZEN_SEC = 60.0
#: The published clients give up after five seconds.
ANSWER_SEC = 5.0
#: A run takes a little more than twice its pause: some end while nobody can be told, some when NATS is back.
PAUSES_SEC = {"ends meanwhile": 8.0, "ends later": 40.0}
SMALL = Demand(pauses_sec=(0.0, 0.1, 0.5), failing=0.0, cancelled=0.0)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    # Leases and time-outs as they are unless somebody sets them; slots are left, which could take what is in work.
    with opened(Site(tmp_path, random.Random(0), settings={}, concurrency=4)) as found:
        yield found


def test_runs_end_once_when_nats_is_frozen_for_a_minute(site: Site) -> None:
    clients = Clients(site.urls, seed=0, demand=SMALL)
    try:
        long_ones = [f"{kind.replace(' ', '-')}-{number}" for kind in PAUSES_SEC for number in range(3)]
        for name in long_ones:
            clients.submit(name, PAUSES_SEC[name.rpartition("-")[0].replace("-", " ")])
        eventually(
            lambda: {entry.name for entry in read_ledger(site.folder / "ledger")} >= set(long_ones),
            what="the beginning of the long runs",
            timeout_sec=PATIENCE_SEC,
        )
        with site.nats.nodes[0].frozen():
            end = time.monotonic() + FROZEN_SEC
            for url in site.urls:
                eventually(lambda url=url: not is_ready(url), what=f"{url} knowing", timeout_sec=2 * ANSWER_SEC)
            while time.monotonic() < end:
                for url in site.urls:
                    check_that_it_says_503(url)
                time.sleep(1)
            done = Counter(entry.task for entry in read_ledger(site.folder / "ledger") if entry.name in long_ones)
        for url in site.urls:
            eventually(lambda url=url: is_ready(url), what=f"the return of {url}", timeout_sec=PATIENCE_SEC)
        count = len(clients.accepted) + 20
        eventually(lambda: len(clients.accepted) >= count, what="more submissions", timeout_sec=PATIENCE_SEC)
    finally:
        clients.stop()
    # Some went on to their end without NATS.
    assert done["last"] >= 3
    assert set(clients.tried_again) == {"503"}

    with Parts(site.nats.url) as parts:
        runs = settle(parts, clients.accepted)
        ledger = read_ledger(site.folder / "ledger")
        assert clients.faults + faults(runs, ledger, [], parts, clients.accepted) == []
        assert parts.dead_letters.count() == 0
    assert {run["status"] for run in runs.values()} == {"COMPLETED"}
    # What had begun is not begun again. A claim that was on its way when NATS froze is stored, but its worker cannot
    # know, and has begun nothing: such a run is claimed once more.
    begun_before = [run for run in runs.values() if run["params"]["name"] in long_ones]
    assert [run["attempt"] for run in begun_before] == [1] * len(long_ones)
    assert set(Counter((entry.name, entry.task) for entry in ledger).values()) == {1}


def check_that_it_says_503(url: str) -> None:
    """Ask a gateway that knows of the outage; it answers in time whatever it is asked."""
    for method, path in (("GET", "/runs"), ("GET", "/runs/some"), ("POST", "/runs/some/cancel"), ("GET", "/metrics")):
        began_at = time.monotonic()
        answer = requests.request(method, f"{url}{path}", timeout=2 * ANSWER_SEC)
        assert (answer.status_code, time.monotonic() - began_at < ANSWER_SEC) == (503, True), answer.text
        assert "Retry-After" in answer.headers
