"""Word of a cancel request, as the slot of a run hears it."""

from __future__ import annotations

import json

import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.config import Config
from pyoco_server.stores.runs import RunHints
from pyoco_server.worker.cancel_hints import CancelHints
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually


class Slot:
    """Is woken, and hears nothing before it is."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.wakes = 0
        self.hints = CancelHints(RunHints(parts.bus, Config.from_env({})), "r1", self._wake)

    def _wake(self) -> None:
        self.wakes += 1

    def write(self, status: str, run_id: str = "r1") -> None:
        """Store this, and let what is told of it arrive."""
        document = {"run_id": run_id, "flow_name": "f", "status": status, "error": "CANCELLING"}
        self._parts.bus.write(Write(f"$KV.pyoco_runs.{run_id}", json.dumps(document).encode()), budget_sec=30)
        self._parts.bus.server_time("KV_pyoco_runs")


@pytest.fixture
def slot(parts: Parts) -> Slot:
    return Slot(parts)


def test_a_cancel_request_is_heard_once_the_slot_listens_and_no_other_write(slot: Slot) -> None:
    slot.write("CANCELLING")
    assert slot.hints.is_to_listen and not slot.hints.is_heard
    slot.hints.listen()
    assert not slot.hints.is_to_listen
    slot.write("RUNNING")
    slot.write("CANCELLING", "r2")
    assert not slot.hints.is_heard
    slot.write("CANCELLING")
    assert slot.hints.is_heard and slot.wakes == 1
    slot.hints.clear()
    assert not slot.hints.is_heard


def test_after_its_end_a_run_is_not_listened_to_and_need_not_be(slot: Slot) -> None:
    slot.hints.listen()
    slot.hints.close()
    slot.write("CANCELLING")
    assert not slot.hints.is_heard
    other = Slot(slot._parts)
    other.hints.close()
    other.hints.listen()
    assert not other.hints.is_to_listen
    other.write("CANCELLING")
    assert not other.hints.is_heard


def test_a_lost_connection_may_have_taken_a_request_with_it(slot: Slot, nats: NatsServer) -> None:
    slot.hints.listen()
    nats.stop()
    nats.start()
    eventually(lambda: slot.hints.is_heard, what="word of the gap", timeout_sec=60)
