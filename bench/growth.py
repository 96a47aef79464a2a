"""How costs grow with what there is: stored runs, workers, tags.

``python -m bench.growth [--quick] [--svg FILE] [--json FILE]``

Of each installation the same is measured: what a submission, a list and a run that is watched cost. The processor time
is the gateway's, which other programs on the machine hardly change. The idle workers are simulated: their records in
the registry, renewed as workers do it, are all that others see of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from bench.figures import OURS, Book
from bench.load import Load, load, request
from bench.plot import Chart, Line, svg
from bench.runs import TWO_TASKS, Client
from bench.site import Bench, Station
from pyoco_server.service import Deadline, Service
from tests.support import crowd
from tests.support.parts import Parts
from tests.support.sse import EventStream
from tests.support.waiting import eventually

_RUNS = (100, 1_000, 10_000, 100_000)
_WORKERS = (1, 10, 50)
_TAGS = (1, 10, 50, 200)
_FEW = 100
_BODY = json.dumps({"flow_name": "main", "params": {"x": 1}, "tag": "nobody"}).encode()
_LOAD_SEC = 2.0
_WATCHED_RUNS = 15
#: As workers do it.
_RENEWAL_SEC = 5.0


@dataclass(frozen=True)
class Point:
    """What things cost in one installation.

    :param along: what is varied, ``runs``, ``workers`` or ``tags``.
    :param submit_cpu_ms: processor time of the gateway for a submission.
    :param list_cpu_ms: the same for ``GET /runs?limit=50``.
    :param run_ms: from a submission to the end of the run, seen by a watch; idle worker, p50.
    :param idle_cpu_percent: what the gateway uses when nobody asks for anything.
    """

    along: str
    count: int
    submit_cpu_ms: float
    list_cpu_ms: float
    run_ms: float
    idle_cpu_percent: float


class _Renewal(Service):
    """Renews the records of simulated workers."""

    def __init__(self, parts: Parts, records: Sequence[dict[str, Any]]) -> None:
        super().__init__("bench-renewal")
        self._parts = parts
        self._records = records

    def run(self) -> None:
        while True:
            for record in self._records:
                now = time.time()
                seen = {"last_seen_at": now, "last_heartbeat_at": now, "heartbeat_at": now, "updated_at": now}
                self._parts.put(record["worker_id"], {**record, **seen}, bucket="pyoco_workers")
                if self.pause(_RENEWAL_SEC / len(self._records)):
                    return


def measure(along: str, count: int) -> Point:
    """Measure one installation: the usual one, but for the number of what is varied."""
    runs, workers, tags = (
        count if along == name else _FEW if name == "runs" else 1 for name in ("runs", "workers", "tags")
    )
    bench = Bench(Book(), rounds=1, seconds=_LOAD_SEC, is_quick=True, peer=None)
    with bench.stations((OURS,)) as (station,):
        station.nats.start()
        with Parts(station.nats.url) as parts:
            parts.put_many(list(crowd.runs(runs)))
            station.start_gateway()
            eventually(lambda: _is_listing(station), what="lists", timeout_sec=600)
            names = [f"t{number}" for number in range(tags)]
            station.start_idle_worker("w", ",".join(names))
            with _idle_workers(parts, workers - 1):
                return _point(station, along, count, names)


@contextmanager
def _idle_workers(parts: Parts, count: int) -> Iterator[None]:
    if not count:
        yield
        return
    records = [
        {"worker_id": f"idle-{number}", "instance_id": "i", "state": "IDLE", "hidden": False, "tags": ["others"]}
        for number in range(count)
    ]
    renewal = _Renewal(parts, records)
    renewal.start()
    try:
        yield
    finally:
        renewal.stop(Deadline(10))


def _point(station: Station, along: str, count: int, tags: Sequence[str]) -> Point:
    with closing(Client(station)) as client:
        # The first ones also make what later ones find.
        run_ms = [_run_ms(station, client, tags[number % len(tags)]) for number in range(_WATCHED_RUNS)][3:]
    before_sec = station.gateway_cpu_sec()
    time.sleep(_RENEWAL_SEC)
    idle_percent = (station.gateway_cpu_sec() - before_sec) / _RENEWAL_SEC * 100
    return Point(
        along,
        count,
        submit_cpu_ms=round(_cpu_ms(station, request(station.url, "/runs", _BODY)), 3),
        list_cpu_ms=round(_cpu_ms(station, request(station.url, "/runs?limit=50", method="GET")), 3),
        run_ms=round(statistics.median(run_ms), 1),
        idle_cpu_percent=round(idle_percent, 1),
    )


def _cpu_ms(station: Station, message: bytes) -> float:
    """Give the processor time of the gateway for a request, the better of two loads."""

    def once() -> float:
        before_sec = station.gateway_cpu_sec()
        found: Load = load(station.url, message, clients=4, seconds=_LOAD_SEC)
        return (station.gateway_cpu_sec() - before_sec) / found.count * 1000

    return min(once() for _ in range(2))


def _run_ms(station: Station, client: Client, tag: str) -> float:
    began_at = time.perf_counter()
    run_id = client.submit(TWO_TASKS, tag)
    port = int(station.url.rpartition(":")[2])
    with EventStream(port, f"/runs/{run_id}/watch?timeout_sec=60") as stream:
        last = [piece.data["snapshot"]["status"] for piece in stream.snapshots()][-1]
    assert last == "COMPLETED", last
    return (time.perf_counter() - began_at) * 1000


def _is_listing(station: Station) -> bool:
    return requests.get(f"{station.url}/runs?limit=1", timeout=60).ok


def _charts(points: Sequence[Point]) -> list[Chart]:
    lines = {
        "submit_cpu_ms": "CPU of a submission, ms",
        "list_cpu_ms": "CPU of a list of 50, ms",
        "run_ms": "submit to end seen, ms",
        "idle_cpu_percent": "CPU when idle, %",
    }
    titles = {"runs": "stored runs", "workers": "workers", "tags": "tags of a worker"}
    return [
        Chart(
            title,
            [
                Line(name, [(point.count, getattr(point, field)) for point in points if point.along == along])
                for field, name in lines.items()
            ],
        )
        for along, title in titles.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest and the second of each: shows that it works")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="a file for the picture")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a file for the figures")
    given = parser.parse_args()
    print(f"{'along':8}{'count':>9}{'submit CPU ms':>15}{'list CPU ms':>13}{'run ms':>9}{'idle CPU %':>12}")
    points = []
    for along, counts in (("runs", _RUNS), ("workers", _WORKERS), ("tags", _TAGS)):
        for count in counts[:2] if given.quick else counts:
            point = measure(along, count)
            points.append(point)
            print(
                f"{along:8}{count:>9,}{point.submit_cpu_ms:>15}{point.list_cpu_ms:>13}{point.run_ms:>9}"
                f"{point.idle_cpu_percent:>12}",
                flush=True,
            )
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n")
    if given.svg is not None:
        given.svg.write_text(svg(_charts(points)))


if __name__ == "__main__":
    main()
