"""Memory of processes that have nothing to do, in proportion where they share it (PSS)."""

from __future__ import annotations

import contextlib
from contextlib import closing
from pathlib import Path

from bench.figures import OURS, PEER, Figure
from bench.runs import TAG, TWO_TASKS, Client
from bench.site import Bench

_GATEWAY = Figure("memory-gateway", "memory of an idle gateway", "MiB")
_WORKER = Figure("memory-worker", "memory of an idle worker with two slots (0.5.1: one), all its processes", "MiB")


def measure(bench: Bench) -> None:
    """Start both, have them do something, and look."""
    for _ in range(bench.rounds):
        with bench.stations((OURS, PEER)) as stations:
            for station in stations:
                station.start_gateway()
                flags = ("--concurrency", "2") if station.side == OURS else ()
                worker = station.start_idle_worker("w", TAG, *flags)
                with closing(Client(station)) as client:
                    # By its end all is there that a run needs.
                    client.wait(client.submit(TWO_TASKS))
                assert station.gateway is not None
                bench.book.note(_GATEWAY, station.side, pss_mib(station.gateway.process.pid))
                bench.book.note(_WORKER, station.side, pss_mib(worker.process.pid))


def pss_mib(pid: int) -> float:
    """Give the memory of a process and all below it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    total_mib = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    for task in Path(f"/proc/{pid}/task").iterdir():
        # Threads and processes may end while they are looked at.
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                with contextlib.suppress(OSError):
                    total_mib += pss_mib(int(child))
    return total_mib
