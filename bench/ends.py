"""The end of a worker in the middle of a run of three seconds."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, closing

from bench.figures import OURS, Figure
from bench.runs import TAG, Client, one_task
from bench.site import Bench

_KILLED = Figure("kill", "kill -9 of a worker, to its 3 s run being COMPLETED by another", "s")
_STOPPED = Figure("stop", "SIGTERM of a busy worker, to its run being terminal, beyond what was left of the run", "s")
_RUN_SEC = 3.0


def measure(bench: Bench) -> None:
    """End the worker that holds the run, with another one that is idle."""
    for _ in range(bench.rounds):
        for figure, number in ((_KILLED, signal.SIGKILL), (_STOPPED, signal.SIGTERM)):
            with ExitStack() as stack:
                (station,) = stack.enter_context(bench.stations((OURS,)))
                station.start_gateway()
                client = stack.enter_context(closing(Client(station)))
                holder = station.start_idle_worker("holder", TAG)
                run_id = client.submit(one_task("nap"))
                began_at = client.wait(run_id, "RUNNING")["start_time"]
                station.start_idle_worker("other", TAG)
                left_sec = max(0.0, began_at + _RUN_SEC - time.time())
                ended_at = time.perf_counter()
                holder.process.send_signal(number)
                run = client.wait(run_id)
                elapsed_sec = time.perf_counter() - ended_at
                assert run["status"] == "COMPLETED", run
                bench.book.note(figure, OURS, elapsed_sec if figure is _KILLED else max(0.0, elapsed_sec - left_sec))
