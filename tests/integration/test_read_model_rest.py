"""Changes that nobody waits for are applied together; whoever waits for one does not notice."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from pyoco_server.readmodel import model
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run

#: Longer than any of these tests: what rests for so long is not woken by time.
LONG_SEC = 300.0
TIMEOUT_SEC = 60.0


@pytest.fixture
def resting(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalGateway]:
    """A gateway whose read model has just begun a long rest."""
    monkeypatch.setattr(model, "_GATHERING_SEC", LONG_SEC)
    gateway = LocalGateway(nats)
    gateway.wait_until_complete()
    gateway.submit("first")
    gateway.get("/runs")
    yield gateway
    # Or it would be asked to stop in its sleep.
    with gateway.parts.model.watch("nobody"):
        gateway.stop()


def test_a_list_shows_what_was_just_submitted(resting: LocalGateway) -> None:
    for name in ("second", "third"):
        run_id = resting.submit(name)
        listed = resting.ask("GET", "/runs", timeout_sec=TIMEOUT_SEC).json()
        assert listed[0]["run_id"] == run_id


def test_a_watch_is_told_of_changes_that_others_make(resting: LocalGateway, parts: Parts) -> None:
    run_id = resting.submit()
    known = functools.partial(resting.parts.model.run, run_id)
    with resting.parts.model.watch(run_id) as watch:
        # What was there before it was opened a watch is not told of.
        assert known() is not None or watch.wait(TIMEOUT_SEC)
        for status in ("RUNNING", "COMPLETED"):
            parts.put(run_id, stored_run(run_id, status=status))
            while (run := known()) is None or run.status != status:
                assert watch.wait(TIMEOUT_SEC)


def test_a_run_that_begins_and_ends_within_one_rest_has_ended_once(resting: LocalGateway, parts: Parts) -> None:
    ended: list[str] = []
    model = resting.parts.model
    model.on_ended(lambda document: ended.append(document["run_id"]))
    for status in ("PENDING", "RUNNING", "COMPLETED", "COMPLETED"):
        last = parts.put("r", stored_run("r", status=status))
    assert model.wait_for(last, TIMEOUT_SEC)
    parts.put("r", stored_run("r", status="COMPLETED", error="was changed later"))
    assert model.wait_for(parts.put("s", stored_run("s", status="FAILED")), TIMEOUT_SEC)
    assert ended == ["r", "s"]


def test_what_nobody_waits_for_is_applied_together(resting: LocalGateway, parts: Parts) -> None:
    before = resting.parts.model.applied_seq()
    for number in range(5):
        parts.put(f"r{number}", stored_run(f"r{number}"))
    assert resting.parts.model.applied_seq() <= before + 1
    assert resting.parts.model.wait_for(before + 5, TIMEOUT_SEC)
