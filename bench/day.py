"""A day of life: many runs pass through, ended ones expire, and memory is to level off.

``python -m bench.day [--runs 150000] [--keep-sec 60] [--json FILE]``; a million with ``--runs 1000000 --keep-sec 600``.

NATS, gateway, worker and client share the machine. Runs are submitted as fast as the worker executes them, with a
bounded queue. A retention of an hour or more is the gateway's own setting; a shorter one, which no setting allows, is
applied by this program in its place, so that in a short measurement runs expire, too. A gateway looks every four
minutes for what has expired, so its list is longest just before its second look, and memory can be level only then.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import requests

from bench.figures import OURS, Book
from bench.memory import pss_mib
from bench.runs import TAG, TWO_TASKS
from bench.site import Bench, Station
from pyoco_server.errors import Unavailable
from pyoco_server.operations.retention import Retention
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.service import Deadline, Service
from tests.support.commands import Daemon
from tests.support.parts import Parts
from tests.support.waiting import PATIENCE_SEC, eventually

#: The least retention that the setting takes.
_SETTING_SEC = 3600.0
#: The least at all: longer than a run waits here.
_LEAST_SEC = 30.0
#: Runs in one request, and how many may wait.
_BATCH = 250
_MAX_WAITING = 1_000
_LOOK_SEC = 0.2
#: As a gateway does it.
_EXPIRY_SEC = 0.5
_SAMPLES = 20
_COUNT = re.compile(r'^pyoco_runs_total\{status="(\w+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """What there is when so many runs have been submitted.

    :param stored: runs that the gateway lists.
    """

    runs: int
    per_sec: float
    stored: int
    gateway_mib: float
    worker_mib: float
    nats_mib: float


class Keeper(Service):
    """Has runs expire as a gateway would."""

    def __init__(self, retention: Retention) -> None:
        super().__init__("bench-keeper")
        self._retention = retention

    def run(self) -> None:
        while not self.pause(_EXPIRY_SEC):
            with suppress(Unavailable):
                self._retention.stamp(self.pause)


def measure(run_count: int, keep_sec: float) -> Iterator[Sample]:
    """Have so many runs pass through; gives twenty samples on the way."""
    is_setting = keep_sec >= _SETTING_SEC
    bench = Bench(Book(), rounds=1, seconds=1.0, is_quick=True, peer=None)
    with bench.stations((OURS,), PYOCO_RUN_RETENTION_SEC=f"{keep_sec:g}" if is_setting else "0") as (station,):
        station.start_gateway()
        worker = station.start_idle_worker("w", TAG, "--concurrency", "2")
        if is_setting:
            yield from _pass_through(station, worker, run_count)
            return
        with Parts(station.nats.url) as parts, _expiring(parts, keep_sec):
            yield from _pass_through(station, worker, run_count)


@contextmanager
def _expiring(parts: Parts, keep_sec: float) -> Iterator[None]:
    model = ReadModel(parts.bus, replace(parts.config, run_retention_sec=keep_sec))
    model.start()
    keeper = Keeper(Retention(parts.runs, model, parts.queue, retention_sec=keep_sec))
    try:
        eventually(lambda: model.is_complete, what="the list being complete", timeout_sec=PATIENCE_SEC)
        keeper.start()
        yield
    finally:
        keeper.stop(Deadline(30))
        model.stop(Deadline(10))
    if keeper.failure is not None:
        raise keeper.failure


def _pass_through(station: Station, worker: Daemon, run_count: int) -> Iterator[Sample]:
    assert station.gateway is not None
    step = max(_BATCH, run_count // _SAMPLES)
    began_at = time.monotonic()
    submitted = sampled = 0
    while submitted < run_count:
        counts = _counts(station)
        if counts["PENDING"] > _MAX_WAITING:
            time.sleep(_LOOK_SEC)
            continue
        submitted += _submit(station, min(_BATCH, run_count - submitted))
        if submitted - sampled >= step or submitted == run_count:
            elapsed_sec = time.monotonic() - began_at
            yield Sample(
                runs=submitted,
                per_sec=round((submitted - sampled) / elapsed_sec, 1),
                stored=int(sum(_counts(station).values())),
                gateway_mib=round(pss_mib(station.gateway.process.pid), 1),
                worker_mib=round(pss_mib(worker.process.pid), 1),
                nats_mib=round(pss_mib(station.nats.pid), 1),
            )
            sampled, began_at = submitted, time.monotonic()


def _submit(station: Station, count: int) -> int:
    body = {"workflow": TWO_TASKS, "params": [{"x": number} for number in range(count)], "flow_name": "day", "tag": TAG}
    answer = requests.post(f"{station.url}/runs/batch", json=body, timeout=60)
    answer.raise_for_status()
    assert all("run_id" in each for each in answer.json()["runs"]), "only what is accepted counts"
    return count


def _counts(station: Station) -> dict[str, float]:
    text = requests.get(f"{station.url}/metrics", timeout=60).text
    return {status: float(count) for status, count in _COUNT.findall(text)}


def growth(samples: list[Sample], part: str) -> float:
    """Compare the memory of a part in the last quarter of a day with that in the quarter before it."""
    quarter = max(1, len(samples) // 4)
    last, before = samples[-quarter:], samples[-2 * quarter : -quarter] or samples[-quarter:]
    return statistics.median(getattr(each, part) for each in last) / statistics.median(
        getattr(each, part) for each in before
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=150_000, help="how many pass through (default 150000)")
    parser.add_argument("--keep-sec", type=float, default=60.0, help="how long ended runs are kept (default 60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a file for the samples")
    given = parser.parse_args()
    if given.keep_sec < _LEAST_SEC:
        parser.error(f"--keep-sec must be {_LEAST_SEC:g} or more: what waits for longer than runs are kept is ended")
    print(f"{'runs':>10}{'runs/s':>9}{'stored':>10}{'gateway MiB':>13}{'worker MiB':>12}{'NATS MiB':>10}")
    samples = []
    for sample in measure(given.runs, given.keep_sec):
        samples.append(sample)
        print(
            f"{sample.runs:>10,}{sample.per_sec:>9}{sample.stored:>10,}{sample.gateway_mib:>13}{sample.worker_mib:>12}"
            f"{sample.nats_mib:>10}",
            flush=True,
        )
    for part in ("gateway_mib", "worker_mib", "nats_mib"):
        print(f"{part.removesuffix('_mib')}: last quarter / the one before: {growth(samples, part):.2f}")
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(sample) for sample in samples], indent=1) + "\n")


if __name__ == "__main__":
    main()
