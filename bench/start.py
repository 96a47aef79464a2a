"""How long a gateway takes to serve, and a worker to its first result."""

from __future__ import annotations

import time
from contextlib import closing

from bench.figures import OURS, PEER, Figure
from bench.runs import TAG, TWO_TASKS, Client
from bench.site import Bench

_GATEWAY = Figure("start-gateway", "start of a gateway, to /health", "s")
_WORKER = Figure("start-worker", "start of a worker, to its first result", "s")


def measure(bench: Bench) -> None:
    """Start both, the worker with a run that waits for it."""
    for _ in range(bench.rounds):
        with bench.stations((OURS, PEER)) as stations:
            for station in stations:
                station.nats.start()
                began_at = time.perf_counter()
                station.start_gateway()
                bench.book.note(_GATEWAY, station.side, time.perf_counter() - began_at)
                with closing(Client(station)) as client:
                    run_id = client.submit(TWO_TASKS)
                    began_at = time.perf_counter()
                    station.start_worker("--worker-id", "w", "--tags", TAG)
                    client.wait(run_id)
                    bench.book.note(_WORKER, station.side, time.perf_counter() - began_at)
