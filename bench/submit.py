"""Submitting flows by their name, one request each: what a client waits, and how many runs a gateway takes."""

from __future__ import annotations

import json

from bench.figures import OURS, PEER, RAW, SYNCED, Figure
from bench.load import load, request
from bench.site import Bench

_BODY = json.dumps({"flow_name": "main", "params": {"x": 1}, "tag": "hello", "tags": ["bench"]}).encode()
_LATENCY = Figure("submit-1", "POST /runs, 1 client, p50", "ms")
_RATE = Figure("submit-32", "POST /runs, 32 clients", "runs/s")
_COST = Figure("submit-32-cpu", "POST /runs, 32 clients, processor time of the gateway", "ms/run")


def measure(bench: Bench) -> None:
    """Submit to each side in turn; nobody executes the runs."""
    with bench.stations((OURS, PEER, SYNCED, RAW)) as stations:
        for station in stations:
            station.start_gateway()
            load(station.url, request(station.url, "/runs", _BODY), clients=8, seconds=bench.seconds / 4)
        for _ in range(bench.rounds):
            for station in stations:
                message = request(station.url, "/runs", _BODY)
                alone = load(station.url, message, clients=1, seconds=bench.seconds / 2)
                before_sec = station.gateway_cpu_sec()
                many = load(station.url, message, clients=32, seconds=bench.seconds)
                used_sec = station.gateway_cpu_sec() - before_sec
                bench.book.note(_LATENCY, station.side, alone.median_ms)
                bench.book.note(_RATE, station.side, many.per_sec)
                bench.book.note(_COST, station.side, used_sec / many.count * 1000)
