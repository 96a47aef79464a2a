"""What a sweep knows to be queued, and who tells it so meanwhile."""

from __future__ import annotations

import threading
import time

import pytest

from pyoco_server.contract import names
from pyoco_server.operations import sweep as sweeping
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts, stored_run
from tests.support.waiting import PATIENCE_SEC, eventually


def test_who_notes_a_job_waits_for_no_sweep_and_the_note_is_kept(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, sweeper, job_id = parts.sweep(), threading.current_thread(), names.job_id
    assert parts.model.wait_for(parts.put("waits", stored_run("waits", origin="dead gateway")), PATIENCE_SEC)
    assert sweep.sweep(time.time() + 1) == 1
    for run_id in ("noted again", "gone"):
        sweep.note_queued(run_id)

    def slow(run_id: str, attempt: int) -> str:
        if threading.current_thread() is sweeper:
            note = threading.Thread(target=sweep.note_queued, args=("noted again",))
            note.start()
            note.join(PATIENCE_SEC)
            assert not note.is_alive()
        return job_id(run_id, attempt)

    monkeypatch.setattr(sweeping, "_NOTED_SEC", 0.0)
    monkeypatch.setattr(names, "job_id", slow)
    assert sweep.sweep(time.time() + 1) == 0
    assert set(sweep._queued) == {"waits", "noted again"}


def test_a_gateway_forgets_its_notes_with_the_connection(local: LocalGateway, nats: NatsServer) -> None:
    sweep = local.parts.submission._published.__self__
    run_id = local.submit()
    eventually(lambda: set(sweep._queued) == {run_id}, what="the note")
    nats.stop()
    eventually(lambda: not sweep._queued, what="the notes being forgotten")
    nats.start()
