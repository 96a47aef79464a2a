"""From a submission to its result, with a worker that has nothing else to do."""

from __future__ import annotations

import time
from contextlib import closing

from bench.figures import OURS, PEER, Figure
from bench.runs import TWO_TASKS, Client
from bench.site import Bench, Station

_WHAT = "submit to COMPLETED seen, idle worker"
_ONE = (
    Figure("latency-1-p50", f"{_WHAT}, one tag, p50", "ms"),
    Figure("latency-1-p99", f"{_WHAT}, one tag, p99", "ms"),
)
_FIVE = (
    Figure("latency-5-p50", f"{_WHAT}, five tags, p50", "ms"),
    Figure("latency-5-p99", f"{_WHAT}, five tags, p99", "ms"),
)
_TAGS = ("a", "b", "c", "d", "e")


def measure(bench: Bench) -> None:
    """Submit one run after the other, and ask for each until it has ended."""
    count = 5 if bench.is_quick else 50
    for tags, figures in ((_TAGS[:1], _ONE), (_TAGS, _FIVE)):
        with bench.stations((OURS, PEER)) as stations:
            for station in stations:
                station.start_gateway()
                station.start_idle_worker("w", ",".join(tags))
                _latencies(station, tags, 3)
            for _ in range(bench.rounds):
                for station in stations:
                    found = sorted(_latencies(station, tags, count))
                    bench.book.note(figures[0], station.side, found[len(found) // 2])
                    bench.book.note(figures[1], station.side, found[int(0.99 * len(found))])


def _latencies(station: Station, tags: tuple[str, ...], count: int) -> list[float]:
    found = []
    with closing(Client(station)) as client:
        for number in range(count):
            began_at = time.perf_counter()
            client.wait(client.submit(TWO_TASKS, tags[number % len(tags)]))
            found.append((time.perf_counter() - began_at) * 1000)
    return found
