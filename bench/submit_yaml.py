"""Submitting a flow.yaml, one request each."""

from __future__ import annotations

from bench.figures import OURS, PEER, SYNCED, Figure
from bench.load import load
from bench.runs import TWO_TASKS, yaml_request
from bench.site import Bench

_RATE = Figure("yaml-8", "POST /runs/yaml, 8 clients", "runs/s")
_COST = Figure("yaml-8-cpu", "POST /runs/yaml, 8 clients, processor time of the gateway", "ms/run")


def measure(bench: Bench) -> None:
    """Submit the same file to each side in turn; nobody executes the runs."""
    with bench.stations((OURS, PEER, SYNCED)) as stations:
        for station in stations:
            station.start_gateway()
            load(station.url, yaml_request(station.url, TWO_TASKS), clients=8, seconds=bench.seconds / 4)
        for _ in range(bench.rounds):
            for station in stations:
                before_sec = station.gateway_cpu_sec()
                many = load(station.url, yaml_request(station.url, TWO_TASKS), clients=8, seconds=bench.seconds)
                used_sec = station.gateway_cpu_sec() - before_sec
                bench.book.note(_RATE, station.side, many.per_sec)
                bench.book.note(_COST, station.side, used_sec / many.count * 1000)
