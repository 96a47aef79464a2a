"""Submitting many runs with one request."""

from __future__ import annotations

import json

from bench.bare_nats import submissions_per_sec
from bench.figures import OURS, RAW, SYNCED, Figure
from bench.load import load, request
from bench.site import Bench

_RATE = Figure("batch", "POST /runs/batch, 1,000 runs a request", "runs/s")
_COUNT = 1_000


def measure(bench: Bench) -> None:
    """Submit batches, and write as much with nats-py alone to the NATS of our side."""
    runs = [{"flow_name": "main", "params": {"x": number}, "tag": "hello"} for number in range(_COUNT)]
    body = json.dumps({"runs": runs}).encode()
    with bench.stations((OURS, SYNCED)) as stations:
        for station in stations:
            station.start_gateway()
        for _ in range(bench.rounds):
            bench.book.note(_RATE, RAW, submissions_per_sec(stations[0].nats.url, _COUNT))
            for station in stations:
                many = load(station.url, request(station.url, "/runs/batch", body), clients=1, seconds=bench.seconds)
                bench.book.note(_RATE, station.side, many.per_sec * _COUNT)
