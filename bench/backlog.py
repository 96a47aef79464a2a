"""A queue of small runs, and how fast workers clear it."""

from __future__ import annotations

from contextlib import closing

from bench.figures import OURS, PEER, Figure
from bench.runs import TAG, TWO_TASKS, Client
from bench.site import Bench, Station

_COUNT = 400
#: A fresh interpreter for each run takes long.
_FRESH_COUNT = 40
_WHAT = f"{_COUNT} queued runs of two tasks"
_ONE = Figure("backlog-1", f"{_WHAT}, one worker", "runs/s")
_SLOTS = Figure("backlog-slots", f"{_WHAT}, one worker --concurrency 2", "runs/s")
_FOUR = Figure("backlog-4", f"{_WHAT}, four workers", "runs/s")
_FRESH = Figure(
    "backlog-fresh", f"{_FRESH_COUNT} queued runs of two tasks, one worker --max-runs-per-child 1", "runs/s"
)
#: Which figure, of how many runs, with how many workers and which flags, which 0.5.1 does not know.
_CASES = (
    (_ONE, _COUNT, 1, ()),
    (_SLOTS, _COUNT, 1, ("--concurrency", "2")),
    (_FOUR, _COUNT, 4, ()),
    (_FRESH, _FRESH_COUNT, 1, ("--max-runs-per-child", "1")),
)


def measure(bench: Bench) -> None:
    """Queue the runs, start the workers, and read from the runs when the first began and the last ended."""
    for _ in range(bench.rounds):
        for figure, count, workers, flags in _CASES:
            with bench.stations((OURS,) if flags else (OURS, PEER)) as stations:
                for station in stations:
                    bench.book.note(
                        figure, station.side, _rate(station, count // 10 if bench.is_quick else count, workers, flags)
                    )


def _rate(station: Station, count: int, workers: int, flags: tuple[str, ...]) -> float:
    """Give the runs a second, without the start of the workers."""
    station.start_gateway()
    with closing(Client(station)) as client:
        run_ids = [client.submit(TWO_TASKS) for _ in range(count)]
        for number in range(workers):
            station.start_worker("--worker-id", f"w{number}", "--tags", TAG, *flags)
        # When the newest is done the others are, too, or nearly so.
        ended = [client.wait(run_id, look_sec=0.2) for run_id in reversed(run_ids)]
    assert all(run["status"] == "COMPLETED" for run in ended), "only runs that complete count"
    elapsed_sec = max(run["end_time"] for run in ended) - min(run["start_time"] for run in ended)
    station.close()
    return count / elapsed_sec
