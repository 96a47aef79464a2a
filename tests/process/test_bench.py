"""``bin/bench`` runs, prints and writes; how fast anything is, no test says."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.__main__ import MEASUREMENTS
from bench.day import Keeper, Sample, growth
from bench.figures import OURS, PEER, RAW, Book, Figure
from bench.growth import measure
from bench.load import load
from bench.plot import Chart, Line, svg
from bench.targets import TARGETS, Target
from pyoco_server.operations.retention import Retention
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.service import Deadline
from tests.support.commands import clean_env
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import PATIENCE_SEC, eventually

ROOT = Path(__file__).parents[2]
RATE = Figure("rate", "how fast", "runs/s")


def bench(*arguments: str) -> str:
    """Run the command to its end; gives what it prints."""
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_each_measurement_prints_a_table_and_writes_all_of_it(tmp_path: Path, name: str) -> None:
    written = tmp_path / "bench.json"
    printed = bench("--quick", "--no-peer", "--only", name, "--json", str(written))
    document = json.loads(written.read_text())
    assert document["machine"]["cores"] >= 1
    assert document["figures"]
    for figure in document["figures"]:
        assert figure["what"] in printed
        assert all(value >= 0 for values in figure["values"].values() for value in values)
        assert PEER not in figure["values"]
    for target in document["targets"]:
        assert target["reached"]["low"] <= target["reached"]["median"] <= target["reached"]["high"]


def test_a_ratio_is_of_values_that_were_measured_side_by_side() -> None:
    book = Book()
    for ours, raw in ((10.0, 20.0), (100.0, 100.0), (30.0, 10.0)):
        book.note(RATE, OURS, ours)
        book.note(RATE, RAW, raw)
    found = book.ratio(("rate", OURS), ("rate", RAW))
    assert found is not None
    assert (found.low, found.median, found.high) == (0.5, 1.0, 3.0)
    assert book.ratio(("rate", OURS), ("rate", PEER)) is None


@pytest.mark.parametrize(
    ("target", "is_met"),
    [
        (Target("rate", at_least=0.65, against=RAW), False),
        (Target("rate", at_least=0.5, against=RAW), True),
        (Target("rate", at_most=9.0), False),
        (Target("rate", at_most=10.0), True),
    ],
)
def test_a_target_bounds_a_ratio_or_a_value(target: Target, is_met: bool) -> None:
    book = Book()
    book.note(RATE, OURS, 10.0)
    book.note(RATE, RAW, 20.0)
    reached = target.reached(book)
    assert reached is not None
    assert target.is_met(reached) is is_met


@pytest.mark.long
def test_a_day_of_life_is_sampled_while_runs_pass_through(tmp_path: Path) -> None:
    written = tmp_path / "day.json"
    command = [sys.executable, "-m", "bench.day", "--runs", "1000", "--keep-sec", "30", "--json", str(written)]
    done = subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    samples = json.loads(written.read_text())
    assert samples[-1]["runs"] == 1000
    assert all(sample[f"{part}_mib"] > 1 for sample in samples for part in ("gateway", "worker", "nats"))


class CountedRetention(Retention):
    turn_count = 0

    def stamp(self, pause: Callable[[float], bool]) -> int:
        self.turn_count += 1
        return super().stamp(pause)


def test_runs_of_a_day_expire_also_where_the_list_is_not_complete_from_the_start(nats: NatsServer) -> None:
    with Parts(nats.url) as parts:
        parts.put("done", stored_run("done", status="COMPLETED"))
        first = parts.runs.get("done").revision
        model = ReadModel(parts.bus, parts.config)
        retention = CountedRetention(parts.runs, model, parts.queue, retention_sec=3600.0)
        keeper = Keeper(retention)
        keeper.start()
        try:
            eventually(lambda: retention.turn_count, what="a turn without a list", timeout_sec=PATIENCE_SEC)
            model.start()
            eventually(lambda: parts.runs.get("done").revision > first, what="its expiry", timeout_sec=PATIENCE_SEC)
        finally:
            keeper.stop(Deadline(PATIENCE_SEC))
            model.stop(Deadline(PATIENCE_SEC))


def test_growth_compares_the_last_quarter_with_the_one_before() -> None:
    day = [Sample(n, 1.0, 1, gateway_mib=memory, worker_mib=1.0, nats_mib=1.0) for n, memory in enumerate((1, 9, 2, 3))]
    assert growth(day, "gateway_mib") == 1.5
    assert growth(day, "worker_mib") == 1.0


@pytest.mark.long
def test_growth_is_measured_with_workers_that_others_take_for_real() -> None:
    point = measure("workers", 3)
    assert (point.along, point.count) == ("workers", 3)
    assert min(point.submit_cpu_ms, point.list_cpu_ms, point.run_ms) > 0


def test_what_costs_the_same_is_drawn_flat() -> None:
    flat, rising = Line("a & b", [(1, 2.0), (100, 2.0)]), Line("c", [(1, 1.0), (100, 10.0)])
    picture = ElementTree.fromstring(svg([Chart("runs", [flat, rising])]))
    lines = [path.get("d", "") for path in picture.iterfind(".//{*}path") if " L" in path.get("d", "")]
    ends = [[float(place.split()[1]) for place in line.removeprefix("M").split(" L")] for line in lines]
    assert ends[0][0] == ends[0][1]
    # Upwards is less.
    assert ends[1][0] > ends[1][1]
    assert "a & b" in "".join(picture.itertext())


def test_every_target_has_one_bound() -> None:
    assert all((target.at_least is None) != (target.at_most is None) for target in TARGETS)


def test_a_load_that_is_cut_off_ends_with_what_came_before() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        cut = pool.submit(_answer_half_and_close, server)
        with pytest.raises(RuntimeError, match=r"cut off after .*Content-Length: 9"):
            load(f"http://127.0.0.1:{server.getsockname()[1]}", b"GET / HTTP/1.1\r\n\r\n", clients=1, seconds=60)
        cut.result()


def _answer_half_and_close(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")


def test_a_client_that_is_done_is_read_no_more_although_its_connection_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(_answer_one_by_one_and_close, server)
        found = load(f"http://127.0.0.1:{server.getsockname()[1]}", b"GET / HTTP/1.1\r\n\r\n", clients=2, seconds=0)
        answered.result()
    assert found.count == 2


def _answer_one_by_one_and_close(server: socket.socket) -> None:
    connections = [server.accept()[0] for _ in range(2)]
    for connection in connections:
        with connection:
            connection.recv(1024)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            # Its client has read the answer when it ends: it asks for nothing more.
            connection.shutdown(socket.SHUT_WR)
