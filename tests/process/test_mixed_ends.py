"""A worker of ours or of the published 0.5.1 ends in the middle of a run: the other kind takes it over."""

from __future__ import annotations

import signal

import pytest

from tests.support.fleet import QUICK, flow
from tests.support.mixed import OURS, THEIRS, MixedFleet
from tests.support.waiting import eventually

pytestmark = pytest.mark.long

OTHER = {OURS: THEIRS, THEIRS: OURS}


def _begun(mixed: MixedFleet) -> int:
    """Count how often ``hold`` was begun."""
    begun = mixed.folder / "go.begun"
    return len(begun.read_text().splitlines()) if begun.exists() else 0


@pytest.mark.parametrize("whose", [OURS, THEIRS])
def test_a_run_whose_worker_is_killed_completes_with_a_worker_of_the_other_kind(mixed: MixedFleet, whose: str) -> None:
    gateway = mixed.gateway(OURS, **QUICK)
    worker = mixed.worker(whose, **QUICK)
    run_id = mixed.submit(gateway, workflow=flow("hold"))
    mixed.running(run_id)
    mixed.worker(OTHER[whose], **QUICK)
    worker.kill()
    eventually(lambda: _begun(mixed) == 2, what="the second beginning")
    (mixed.folder / "go").touch()
    assert mixed.ended(run_id)["status"] == "COMPLETED"
    mixed.assert_nothing_is_left()


@pytest.mark.parametrize("whose", [OURS, THEIRS])
def test_a_run_whose_worker_is_asked_to_stop_completes(mixed: MixedFleet, whose: str) -> None:
    gateway = mixed.gateway(OURS, **QUICK)
    worker = mixed.worker(whose, **QUICK)
    run_id = mixed.submit(gateway, workflow=flow("hold"))
    mixed.running(run_id)
    mixed.worker(OTHER[whose], **QUICK)
    worker.process.send_signal(signal.SIGTERM)
    if whose == THEIRS:
        worker.process.wait(30)
        # Its run begins anew, maybe before the next one, and must not keep the only slot that there is.
        (mixed.folder / "go").touch()
    later = mixed.submit(gateway, workflow=flow("quick"))
    assert mixed.ended(later)["status"] == "COMPLETED"
    (mixed.folder / "go").touch()
    assert mixed.ended(run_id)["status"] == "COMPLETED"
    # One of 0.5.1 has no order of stopping: the signal ends it, and its run begins anew elsewhere.
    assert worker.stop() == (0 if whose == OURS else -signal.SIGTERM)
    assert _begun(mixed) == (1 if whose == OURS else 2)
    mixed.assert_nothing_is_left()


def test_our_worker_leaves_a_run_alone_that_a_worker_of_0_5_1_executes(mixed: MixedFleet) -> None:
    """The queue hands a job out again when its holder is late with a sign of life; the snapshot shows that it lives.

    0.5.1 does not write there who holds the run.
    """
    gateway = mixed.gateway(OURS, **QUICK)
    # It renews its lease every half a minute; what others rely on, its writing to the snapshot, goes on as ever.
    mixed.worker(THEIRS, **{**QUICK, "PYOCO_CONSUMER_ACK_WAIT_SEC": "60", "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "30"})
    mixed.set_ack_wait(1.5)
    run_id = mixed.submit(gateway, workflow=flow("hold"))
    mixed.running(run_id)
    mixed.worker(OURS, **QUICK)
    eventually(lambda: mixed.consumer()["num_redelivered"], what="the second delivery")
    # Of which nothing comes: it is handed back, and given out again.
    deliveries = mixed.consumer()["delivered"]["consumer_seq"]
    eventually(lambda: mixed.consumer()["delivered"]["consumer_seq"] > deliveries + 1, what="more deliveries")
    assert _begun(mixed) == 1
    (mixed.folder / "go").touch()
    assert mixed.ended(run_id)["status"] == "COMPLETED"
    mixed.assert_nothing_is_left()
    assert _begun(mixed) == 1
