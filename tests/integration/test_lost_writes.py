"""Writes whose answer is lost: what was compared, or carries an id, is written once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.connection import TRY_TIMEOUT_SEC
from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from pyoco_server.errors import BusTimeout, PyocoServerError, RevisionConflict
from pyoco_server.service import Deadline
from pyoco_server.stores.logs import LogStore
from pyoco_server.worker.printed import Printed
from pyoco_server.worker.run_log import RunLog
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run

BUCKET = "lost"
PATTERN = f"$KV.{BUCKET}.>"
OWN, OTHER = f"$KV.{BUCKET}.own", f"$KV.{BUCKET}.other"


@pytest.fixture
def bus(nats: NatsServer) -> Iterator[Bus]:
    bus = Bus(nats.url, name="test", budget_sec=30.0, waits_when_down=True)
    bus.connect(10)
    yield bus
    bus.close(Deadline(5))


def make_stream(bus: Bus, name: str) -> None:
    bus.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [PATTERN], "allow_direct": True})


def write_and_lose_the_answer(bus: Bus, nats: NatsServer, write: Write) -> int:
    """Write while the server does not answer, until the first try is given up."""
    with ThreadPoolExecutor(1) as pool:
        with nats.frozen():
            result = pool.submit(bus.write, write)
            time.sleep(TRY_TIMEOUT_SEC + 0.5)
        return result.result(40)[0]


def test_a_write_that_had_arrived_is_known_by_what_it_wrote(bus: Bus, nats: NatsServer) -> None:
    make_stream(bus, f"KV_{BUCKET}")
    bus.write(Write(OTHER, b"theirs"))
    write = Write(OWN, b"ours", expected_revision=1, expected_of=PATTERN)
    assert write_and_lose_the_answer(bus, nats, write) == 2
    assert bus.last(f"KV_{BUCKET}", OWN).seq == 2


def test_a_write_of_which_nothing_arrived_meets_the_conflict_of_the_other(bus: Bus, nats: NatsServer) -> None:
    make_stream(bus, f"KV_{BUCKET}")
    bus.write(Write(OTHER, b"theirs"))
    with pytest.raises(RevisionConflict):
        write_and_lose_the_answer(bus, nats, Write(OWN, b"ours", expected_revision=0, expected_of=PATTERN))


def test_a_write_of_which_nobody_can_say_whether_it_arrived_is_uncertain(bus: Bus, nats: NatsServer) -> None:
    # Its stream is not where a bucket's is looked for.
    make_stream(bus, "ELSEWHERE")
    bus.write(Write(OWN, b"theirs"))
    with pytest.raises(PyocoServerError) as caught:
        write_and_lose_the_answer(bus, nats, Write(OWN, b"ours", expected_revision=0))
    assert isinstance(caught.value, BusTimeout)


def test_a_run_is_read_anew_after_a_conflict_within_the_budget_of_its_change(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's sign of life waited for the connection's own budget, and those behind it with it."""
    parts.put("r", stored_run("r"))
    stale = parts.runs.get("r")
    parts.put("r", stored_run("r"))
    read, budgets = parts.bus.last, list[object]()
    monkeypatch.setattr(parts.bus, "last", lambda *place, **budget: budgets.append(budget) or read(*place, **budget))
    assert parts.runs.change(stale, lambda snapshot: snapshot.released(1.0), budget_sec=0.5)
    assert budgets == [{"budget_sec": 0.5}]


def test_output_of_which_nobody_can_say_whether_it_arrived_is_sent_again_and_kept_once(nats: NatsServer) -> None:
    config = Config.from_env({}, nats_url=nats.url)
    bus = Bus(nats.url, name="test", budget_sec=0.0, waits_when_down=True)
    bus.connect(10)
    try:
        ensure_resources(bus, config)
        log = RunLog(LogStore(bus), config, "r", 1)
        log.take(Printed("t", "stdout", "first\n"))
        with nats.frozen(), pytest.raises(BusTimeout):
            log.send(budget_sec=0)
        log.take(Printed("t", "stdout", "second\n"))
        log.send(budget_sec=30)
        assert [entry.fields["text"] for entry in LogStore(bus).read("r").entries] == ["first\n", "second\n"]
    finally:
        bus.close(Deadline(5))
