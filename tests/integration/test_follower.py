"""What a follower does beside taking changes over: it neither holds them up, nor hides that it was cut off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator, Sequence

import pytest

from pyoco_server.bridge.messages import Change
from pyoco_server.readmodel.follower import Follower
from pyoco_server.service import Deadline
from tests.support.brake import brake_at
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import PATIENCE_SEC, eventually

STREAM = "KV_pyoco_runs"
#: Of keys that are asked about in three groups.
FIRST, LAST = "gone-000", "gone-249"


def wait_until_given(parts: Parts, revision: int) -> None:
    """Wait until the connection of these parts has been given a change."""

    def is_delivered() -> bool:
        names = parts.bus.api(f"CONSUMER.NAMES.{STREAM}")["consumers"] or []
        infos = [parts.bus.api(f"CONSUMER.INFO.{STREAM}.{name}") for name in names]
        return any(info["delivered"]["stream_seq"] >= revision for info in infos)

    eventually(is_delivered, what="the change being on its way", timeout_sec=PATIENCE_SEC)
    parts.bus.server_time(STREAM)


def test_changes_are_applied_while_vanished_keys_are_dropped(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyoco_server.readmodel.follower._RECONCILE_SEC", 0.5)
    gone = [f"gone-{number:03}" for number in range(250)]
    last = parts.put_many([stored_run(run_id) for run_id in gone])
    model = parts.model
    assert model.wait_for(last, PATIENCE_SEC)
    with brake_at(model, FIRST) as first, brake_at(model, LAST) as end:
        parts.bus.api(f"STREAM.PURGE.{STREAM}")
        first.wait()
        assert [model.run(run_id) is None for run_id in (gone[99], gone[100], LAST)] == [True, False, False]
        wait_until_given(parts, parts.put("new", stored_run("new")))
        first.release()
        end.wait()
        assert model.run("new") is not None


class CutTable:
    """A table whose first follower loses its connection just before the table would count as complete.

    :ivar told: ``read`` for each new beginning, and what was said of its completeness.
    """

    def __init__(self, nats: NatsServer) -> None:
        self._nats = nats
        self._has_been_cut = threading.Event()
        self.told: list[str | bool] = []

    def position(self) -> tuple[str, int]:
        self.told.append("read")
        return "", 0

    def restart(self, created: str) -> None:
        pass

    def apply(self, changes: Sequence[Change]) -> None:
        raise AssertionError("nothing is stored")

    def settle(self) -> Iterator[None]:
        if not self._has_been_cut.is_set():
            self._nats.stop(signal.SIGKILL)
            assert self._has_been_cut.wait(PATIENCE_SEC)
            self._nats.start()
        yield from ()

    def set_complete(self, is_complete: bool) -> None:
        self.told.append(is_complete)
        if not is_complete:
            self._has_been_cut.set()

    def subjects(self) -> set[str]:
        return set()

    def forget(self, subjects: Collection[str]) -> None:
        raise AssertionError("nothing is stored")


def test_a_table_whose_feed_is_cut_while_it_settles_is_complete_only_when_it_was_read_anew(
    nats: NatsServer, parts: Parts
) -> None:
    table = CutTable(nats)
    follower = Follower(parts.bus, STREAM, "$KV.pyoco_runs.>", table)
    follower.start()
    try:
        eventually(lambda: True in table.told, what="the table being complete", timeout_sec=PATIENCE_SEC)
    finally:
        follower.stop(Deadline(PATIENCE_SEC))
    assert "read" in table.told[table.told.index(False) : table.told.index(True)]
