"""Lists and metrics with few stored runs and with many, and how long a gateway takes to load them."""

from __future__ import annotations

import functools
import time

import requests

from bench.figures import OURS, PEER, Figure
from bench.load import load, request
from bench.site import Bench, Station
from tests.support import crowd
from tests.support.parts import Parts
from tests.support.waiting import eventually

_PATHS = {
    "list": "/runs?limit=50",
    "list-filtered": "/runs?limit=50&status=COMPLETED&created_after=0",
    "metrics": "/metrics",
}
_FEW, _MORE, _MANY = 100, 10_000, 100_000
_LOADED = Figure("load", f"read model: {_MANY:,} stored runs loaded after the start of a gateway", "s")
#: In seconds, for a gateway of 0.5.1 that reads every run for each list.
_TIMEOUT_SEC = 600.0


def figure(name: str, count: int) -> Figure:
    """Give the figure of a path with so many runs."""
    return Figure(f"{name}-{count}", f"GET {_PATHS[name]} with {count:,} stored runs, p50", "ms")


def measure(bench: Bench) -> None:
    """Store the runs as workers would have left them, then start the gateway and ask."""
    for count in (_FEW,) if bench.is_quick else (_FEW, _MORE, _MANY):
        with bench.stations((OURS, PEER) if count == _MORE else (OURS,)) as stations:
            for station in stations:
                _fill(station, count)
                began_at = time.perf_counter()
                station.start_gateway()
                eventually(functools.partial(_is_listing, station), what="lists", timeout_sec=_TIMEOUT_SEC)
                if count == _MANY:
                    bench.book.note(_LOADED, station.side, time.perf_counter() - began_at)
            for _ in range(bench.rounds):
                for station in stations:
                    for name, path in _PATHS.items():
                        message = request(station.url, path, method="GET")
                        found = load(station.url, message, clients=1, seconds=bench.seconds / 3)
                        bench.book.note(figure(name, count), station.side, found.median_ms)


def _fill(station: Station, count: int) -> None:
    station.nats.start()
    with Parts(station.nats.url) as parts:
        parts.put_many(list(crowd.runs(count)))


def _is_listing(station: Station) -> bool:
    return requests.get(f"{station.url}/runs?limit=1", timeout=_TIMEOUT_SEC).ok
