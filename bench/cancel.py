"""From a request to cancel to the end of the run."""

from __future__ import annotations

import time
from contextlib import closing

from bench.figures import OURS, PEER, Figure
from bench.runs import LOOK_SEC, TAG, Client, one_task
from bench.site import Bench, Station

_LATENCY = Figure("cancel", "cancel of a task that looks for it, to the run's end, p50", "ms")

#: Then a user asks again.
_PATIENCE_SEC = 5.0


def measure(bench: Bench) -> None:
    """Cancel runs that wait for that, one after the other."""
    with bench.stations((OURS, PEER)) as stations:
        for station in stations:
            station.start_gateway()
            station.start_idle_worker("w", TAG)
        for _ in range(bench.rounds):
            for station in stations:
                found = sorted(_latency_ms(station) for _ in range(1 if bench.is_quick else 5))
                bench.book.note(_LATENCY, station.side, found[len(found) // 2])


def _latency_ms(station: Station) -> float:
    with closing(Client(station)) as client:
        run_id = client.submit(one_task("until_cancelled"))
        while "RUNNING" not in client.run(run_id)["tasks"].values():
            time.sleep(0.01)
        began_at = asked_at = time.perf_counter()
        client.cancel(run_id)
        # 0.5.1 leaves such a run CANCELLING, with the time of its end.
        while client.run(run_id)["end_time"] is None:
            if time.perf_counter() - asked_at > _PATIENCE_SEC:
                # A worker of 0.5.1 may write over the request.
                asked_at = time.perf_counter()
                client.cancel(run_id)
            time.sleep(LOOK_SEC)
        return (time.perf_counter() - began_at) * 1000
