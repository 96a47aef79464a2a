"""Many watchers of one run: how soon each hears of its end, and what others notice of them meanwhile."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from bench.figures import OURS, PEER, Figure
from bench.load import Load, load, request
from bench.runs import TAG, Client, one_task
from bench.site import Bench, Station
from bench.targets import WATCHER_COUNT

_WHAT = f"{WATCHER_COUNT} watchers of a run"
_SERVED = Figure("watch-served", f"{_WHAT}: told of its end", "watchers")
_HALF = Figure("watch-p50", f"{_WHAT}: its end seen after, p50", "ms")
_LAST = Figure("watch-p99", f"{_WHAT}: its end seen after, p99", "ms")
_IDLE = Figure("health-idle", "GET /health with nobody watching, p50", "ms")
_WATCHED = Figure("health-watched", f"GET /health with {_WHAT}, p50", "ms")
#: Whoever has not heard by then counts as not served.
_PATIENCE_SEC = 30.0
#: A side that looks every so often, 0.5.1 every half second, tells of an end by where in between it came: so of several
#: runs each ends later after its watchers have come, by these seconds.
_MOMENTS_SEC = (0.0, 0.125, 0.25, 0.375)


def measure(bench: Bench) -> None:
    """Have a run wait until all who watch it are connected, then let it end; several times a round."""
    with bench.stations((OURS, PEER)) as stations:
        for station in stations:
            station.start_gateway()
            station.start_idle_worker("w", TAG)
        for turn in range(bench.rounds):
            for station in stations:
                health = _health(bench, station)
                bench.book.note(_IDLE, station.side, health)
                told = [_watch(bench, station, station.folder / f"end-{turn}-{at}", at) for at in _MOMENTS_SEC]
                found = Load(latencies_sec=[latency for latencies in told for latency in latencies])
                bench.book.note(_SERVED, station.side, min(len(latencies) for latencies in told))
                if found.count:
                    bench.book.note(_HALF, station.side, found.median_ms)
                    bench.book.note(_LAST, station.side, found.quantile_ms(0.99))


def _health(bench: Bench, station: Station) -> float:
    """Give how long an answer takes that needs nothing, in ms."""
    return load(
        station.url, request(station.url, "/health", method="GET"), clients=1, seconds=bench.seconds / 3
    ).median_ms


def _watch(bench: Bench, station: Station, word: Path, later_sec: float) -> list[float]:
    """Have a run watched to its end; gives the seconds after which each watcher was told of that.

    :param word: the file that ends the run.
    :param later_sec: how much later than at once.
    """
    with closing(Client(station)) as client:
        run_id = client.submit(one_task("until_told", path=str(word)))
        client.wait(run_id, "RUNNING")
        with closing(_Crowd(station.url, f"/runs/{run_id}/watch?timeout_sec=300", WATCHER_COUNT)) as crowd:
            crowd.wait_for(b"event: snapshot")
            if not later_sec:
                bench.book.note(_WATCHED, station.side, _health(bench, station))
            time.sleep(later_sec)
            word.touch()
            seen_at = crowd.wait_for(b"COMPLETED")
        # By the worker's clock, which is that of this machine.
        end_time = client.wait(run_id)["end_time"]
    return [at - end_time for at in seen_at]


class _Crowd:
    """Clients that read streams of events, on one thread."""

    def __init__(self, url: str, path: str, count: int) -> None:
        parts = urlsplit(url)
        message = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        self._received: dict[socket.socket, bytes] = {}
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            reader = socket.create_connection((parts.hostname, parts.port), timeout=_PATIENCE_SEC)
            reader.sendall(message)
            self._received[reader] = b""
            self._selector.register(reader, selectors.EVENT_READ)

    def wait_for(self, word: bytes) -> list[float]:
        """Read until everybody has received this, or none who has not for a long time.

        :return: the time at which each of them did, ``time.time()``.
        """
        seen_at = {reader: time.time() for reader, text in self._received.items() if word in text}
        deadline = time.monotonic() + _PATIENCE_SEC
        while len(seen_at) < len(self._received) and self._selector.get_map() and time.monotonic() < deadline:
            for key, _ in self._selector.select(1.0):
                reader = key.fileobj
                assert isinstance(reader, socket.socket)
                piece = reader.recv(65536)
                if not piece:
                    self._selector.unregister(reader)
                self._received[reader] += piece
                if reader not in seen_at and word in self._received[reader]:
                    seen_at[reader] = time.time()
        return list(seen_at.values())

    def close(self) -> None:
        self._selector.close()
        for reader in self._received:
            reader.close()
