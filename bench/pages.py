"""How long pages take with few runs and with many: ``python -m bench.pages [--runs 100000] [--json FILE]``.

NATS, gateway and client share the machine; a time is from a request to the last byte of its answer, over HTTP. The CPU
time is that of the thread that makes the answer, which other programs on the machine hardly change.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pyoco_server.gateway.app import create_app
from pyoco_server.readmodel.queries import Cursor
from tests.support import crowd
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

_FEW_RUNS, _MANY_RUNS = 100, 100_000
_ROUNDS = 40


@dataclass(frozen=True)
class Figure:
    """How long one page took.

    :param runs: how many the installation has.
    """

    page: str
    runs: int
    median_ms: float
    slowest_ms: float
    cpu_ms: float
    kilobytes: float


def measure(run_count: int) -> list[Figure]:
    """Measure every page on an installation of so many runs, many workers, tags and dead letters, and no wheels."""
    with tempfile.TemporaryDirectory() as scratch:
        nats = NatsServer(Path(scratch) / "nats").start()
        try:
            with Parts(nats.url) as parts:
                parts.put_many(list(crowd.runs(run_count)))
                for record in crowd.workers():
                    parts.put(record["worker_id"], record, bucket="pyoco_workers")
                crowd.wide_run(parts)
                crowd.letters(parts)
            gateway = LocalGateway(nats)
            try:
                eventually(lambda: gateway.get("/ready").status_code == 200, what="the runs loaded", timeout_sec=300)
                return [_figure(gateway, name, path, run_count) for name, path in _paths(gateway).items()]
            finally:
                gateway.stop()
        finally:
            nats.stop()


def _paths(gateway: LocalGateway) -> dict[str, str]:
    """Give each page's name and address."""
    (newest,) = gateway.get("/runs?limit=1").json()
    half = Cursor(newest["updated_at"] - crowd.SPAN_SEC / 2, "")
    return {
        "overview": "/",
        "runs": "/ui/runs",
        "runs, behind half of them": f"/ui/runs?cursor={half}",
        "runs, filtered": "/ui/runs?status=FAILED&since=24h&tag=a-tag-of-a-team-3",
        "runs, of a flow": "/ui/runs?status=CANCELLED&flow=a_nightly_flow_of_some_length_7",
        "runs, by text": "/ui/runs?q=a_nightly_flow_of_some_length_7",
        "runs, by text of none": "/ui/runs?q=nothing",
        "run of 100 tasks": f"/ui/runs/{crowd.WIDE_RUN}",
        "queues": "/ui/queues",
        "workers": "/ui/workers",
        "worker": "/ui/workers/worker-1.example.com",
        "wheels": "/ui/wheels",
        "dead letters": "/ui/dead-letters",
        "submit": f"/ui/submit?from={crowd.WIDE_RUN}",
    }


def _figure(gateway: LocalGateway, name: str, path: str, run_count: int) -> Figure:
    client = create_app(gateway.parts).test_client()
    walls, cpus = [], []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        answer = gateway.get(path)
        walls.append(1000 * (time.perf_counter() - begin))
        assert answer.status_code == 200, (path, answer.status_code)
        begin = time.thread_time()
        client.get(path)
        cpus.append(1000 * (time.thread_time() - begin))
    # The first answers also compile templates and statements.
    walls, cpus = walls[3:], cpus[3:]
    return Figure(
        page=name,
        runs=run_count,
        median_ms=round(statistics.median(walls), 1),
        slowest_ms=round(max(walls), 1),
        cpu_ms=round(statistics.median(cpus), 1),
        kilobytes=round(len(answer.content) / 1000, 1),
    )


def _table(figures: list[Figure]) -> str:
    lines = [f"{'page':28}{'runs':>9}{'median ms':>11}{'slowest ms':>12}{'CPU ms':>8}{'kB':>7}"]
    lines += [
        f"{item.page:28}{item.runs:>9,}{item.median_ms:>11}{item.slowest_ms:>12}{item.cpu_ms:>8}{item.kilobytes:>7}"
        for item in figures
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, action="append", help="how many runs; may be given more than once")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    figures = [figure for count in given.runs or (_FEW_RUNS, _MANY_RUNS) for figure in measure(count)]
    names = [figure.page for figure in figures]
    figures = sorted(figures, key=lambda figure: names.index(figure.page))
    print(_table(figures))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")


if __name__ == "__main__":
    main()
