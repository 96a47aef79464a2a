"""The verdict on a storm names what must not be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pyoco_server.bridge.resources import ensure_consumer
from tests.chaos.site import TAGS, Hit
from tests.chaos.verdict import Entry, faults
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run

TASKS = ("first", "left", "right", "last")
#: A run from 100 to 110 whose tasks began at 101 to 104, and what makes up for nothing.
RUN: dict[str, Any] = {"run_id": "r1", "status": "COMPLETED", "tag": "a", "attempt": 1, "end_time": 110.0}
LEDGER = [Entry("one", task, 101.0 + place, 1) for place, task in enumerate(TASKS)]
AGAIN = Entry("one", "left", 106.0, 2)
HIT = Hit(105.0, "worker-0", 105.5)


@pytest.fixture
def parts(nats: NatsServer) -> Iterator[Parts]:
    with Parts(nats.url) as connected:
        for tag in TAGS:
            ensure_consumer(connected.bus, connected.config, tag)
        connected.put("r1", stored_run("r1", status="COMPLETED"))
        yield connected


def found(
    parts: Parts, run: dict[str, Any] | None = None, ledger: list[Entry] | None = None, hits: tuple[Hit, ...] = ()
) -> list[str]:
    runs = {"one": {**RUN, **(run or {})}}
    return faults(runs, LEDGER if ledger is None else ledger, list(hits), parts, {"one": "r1"})


def test_what_is_as_it_should_be_has_no_fault(parts: Parts) -> None:
    assert found(parts) == []
    assert found(parts, {"attempt": 2}, [*LEDGER, AGAIN], (HIT,)) == []
    assert found(parts, {"attempt": 2, "errors": [{}]}, [*LEDGER, AGAIN]) == []
    assert found(parts, {"status": "CANCELLED"}, []) == []


def test_every_fault_is_named(parts: Parts) -> None:
    (late,) = found(parts, {"end_time": 103.5})
    assert "last of r1 (COMPLETED) began 0.500 s after its end" in late
    (missing,) = found(parts, ledger=LEDGER[:3])
    assert "not all of its tasks began" in missing
    (unhit,) = found(parts, {"attempt": 2}, [*LEDGER, AGAIN])
    assert "left of r1 began again at 106.000, and nothing was hit" in unhit
    (twice,) = found(parts, {"attempt": 1}, [*LEDGER, AGAIN], (HIT,))
    assert "left of r1 began 2 times in 1 attempts" in twice
    (open_run,) = found(parts, {"status": "PENDING", "end_time": None})
    assert "r1, of tag a, is still PENDING" in open_run
    (unknown,) = found(parts, ledger=[*LEDGER, Entry("two", "first", 101.0, 1)])
    assert "two was never accepted" in unknown


def test_what_is_left_over_is_named(parts: Parts) -> None:
    parts.put("stray", stored_run("stray"))
    parts.queue.ensure("other")
    assert found(parts) == [
        "run stray is stored, and no client was told of it",
        "consumer pyoco_workers_other is left over",
    ]
