"""Submitted runs survive the end of gateway, worker and NATS, in whatever order these end and come back."""

from __future__ import annotations

import itertools
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyoco_server.client.http import PyocoHttpClient
from tests.conftest import Gateway
from tests.support.commands import Daemon
from tests.support.fleet import QUICK
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

TASKS = """\
import os, time
from pathlib import Path

HOME = Path(__file__).parent

def note(name):
    with open(HOME / "ledger", "a") as ledger:
        ledger.write(name + "\\n")

def first(number):
    note(f"first {number}")
    deadline = time.monotonic() + 20
    while number == 0 and not (HOME / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return number

def second(first):
    note(f"second {first}")
    return first
"""
FLOW = {
    "version": 1,
    "flow": {"graph": "first >> second", "defaults": {"number": 0}},
    "tasks": {name: {"callable": f"ledger_tasks:{name}"} for name in ("first", "second")},
}
#: One that is going on when everything ends, and some that wait behind it.
RUNS = 5


class Site:
    """Gateway, worker and NATS on one machine, each of which can be ended and started by itself."""

    def __init__(self, start: Callable[..., Daemon], nats: NatsServer, folder: Path) -> None:
        (folder / "ledger_tasks.py").write_text(TASKS)
        self.folder = folder
        self._start = start
        self.nats = nats
        self.gateway = Gateway(start, nats)
        self.start_worker()
        self.client = PyocoHttpClient(self.gateway.url)

    def start_worker(self) -> None:
        # What goes on when a stop is asked for is handed back soon, not waited for.
        settings = {**QUICK, "PYOCO_DRAIN_SEC": "0.3"}
        self.worker = self._start(
            "pyoco-worker", "--nats-url", self.nats.url, "--tags", "t", "--worker-id", "w", **settings
        )

    def end(self, part: str, number: int) -> None:
        if part == "nats":
            self.nats.stop(number)
        else:
            daemon = self.gateway.daemon if part == "gateway" else self.worker
            status = daemon.stop(number, timeout_sec=10)
            assert status == (0 if number == signal.SIGTERM else -number), daemon.log

    def begin(self, part: str) -> None:
        if part == "nats":
            self.nats.start()
        elif part == "gateway":
            self.gateway.restart()
        else:
            self.start_worker()

    def submit(self, number: int) -> str:
        flow = {**FLOW, "flow": {"graph": "first >> second", "defaults": {"number": number}}}
        return str(self.client.submit_run_yaml(json.dumps(flow), flow_name="main", tag="t")["run_id"])

    def is_completed(self, run_id: str) -> bool:
        status = self.client.get_run(run_id)["status"]
        assert status in ("PENDING", "RUNNING", "COMPLETED"), self.client.get_run(run_id)
        return bool(status == "COMPLETED")

    @property
    def ledger(self) -> Counter[str]:
        path = self.folder / "ledger"
        return Counter(path.read_text().splitlines() if path.exists() else [])


@pytest.fixture
def site(start: Callable[..., Daemon], nats: NatsServer, tmp_path: Path) -> Iterator[Site]:
    found = Site(start, nats, tmp_path)
    yield found
    found.client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
@pytest.mark.parametrize("order", list(itertools.permutations(["gateway", "worker", "nats"])), ids="-".join)
def test_accepted_runs_complete_after_all_parts_have_ended_and_come_back(
    site: Site, order: tuple[str, ...], number: signal.Signals
) -> None:
    run_ids = [site.submit(index) for index in range(RUNS)]
    eventually(lambda: site.ledger["first 0"], what="the first run going on")
    for part in order:
        site.end(part, number)
    # A gateway needs NATS to start; everything else may come back at any time.
    for part in sorted(reversed(order), key=lambda part: part == "gateway"):
        site.begin(part)
    (site.folder / "go").touch()
    for run_id in run_ids:
        eventually(lambda run_id=run_id: site.is_completed(run_id), what="the run's end")
    # What had ended before is not done again; what was cut off is.
    assert site.ledger["first 0"] in (1, 2)
    assert {name: count for name, count in site.ledger.items() if count != 1 and name != "first 0"} == {}
