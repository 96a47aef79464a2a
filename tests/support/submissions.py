"""Runs that come in without a pause while something happens to a cluster, and what must have become of them."""

from __future__ import annotations

import itertools
import threading
from collections import Counter

import requests

from tests.support.commands import Daemon
from tests.support.fleet import TAG, flow
from tests.support.insist import submit_until_accepted
from tests.support.plant import Plant
from tests.support.waiting import PATIENCE_SEC, eventually

FLOW = flow("one >> two")
#: Longer than the lease of a job whose worker did not hear that it has it.
SETTLE_SEC = 120.0
#: The periods of an installation, which are longer than an election.
PERIODS = {
    "PYOCO_CONSUMER_ACK_WAIT_SEC": "30",
    "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "10",
    "PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC": "20",
}


class Submissions:
    """Submits one run after the other through a gateway, each until it is accepted.

    :ivar accepted: the run id by the name that its tasks note.
    :ivar tried_again: how often a run was submitted once more, and why: a status, or the name of an error.
    """

    def __init__(self, url: str) -> None:
        self.accepted: dict[str, str] = {}
        self.tried_again: Counter[str] = Counter()
        self._url = url
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._submit_on)
        self._thread.start()

    def stop(self) -> None:
        """Begin no submission any more, and wait for the last one; works twice.

        :raises AssertionError: one was refused, or not accepted in two minutes.
        """
        self._stopping.set()
        self._thread.join()
        assert self._failure is None, self._failure

    def wait_for_more(self, count: int = 10) -> None:
        """Wait until the gateway has accepted so many more."""
        wanted = len(self.accepted) + count
        eventually(
            lambda: self._failure or len(self.accepted) >= wanted, what="runs being accepted", timeout_sec=PATIENCE_SEC
        )
        assert self._failure is None, self._failure

    def _submit_on(self) -> None:
        try:
            with requests.Session() as session:
                for number in itertools.count():
                    if self._stopping.wait(0.05):
                        return
                    self._submit(session, str(number))
        except BaseException as exc:
            # It would end this thread alone, and no test.
            self._failure = exc

    def _submit(self, session: requests.Session, name: str) -> None:
        query = {"flow_name": "main", "tag": TAG, "params": f'{{"name": "{name}"}}'}
        gateways = itertools.repeat(self._url)
        self.accepted[name] = submit_until_accepted(session, gateways, name, self._note, params=query, data=FLOW)

    def _note(self, why: str) -> None:
        self.tried_again[why] += 1


def check_that_each_ran_once(plant: Plant, workers: list[Daemon], submissions: Submissions) -> None:
    """Stop the stream of runs, and see how every one of them has ended."""
    submissions.stop()
    # The gateway lives all the time: it may be slow, but no connection to it breaks.
    assert set(submissions.tried_again) <= {"503", "ReadTimeout"}
    for name, run_id in submissions.accepted.items():
        plant.fleet.ended(run_id, timeout_sec=SETTLE_SEC)
        assert (plant.begun(name, "one"), plant.begun(name, "two")) == (1, 1), plant.fleet.run(run_id)
    assert plant.fleet.queue_is_empty()
    assert plant.fleet.dead_letters() == []
    # None of them was started again.
    assert [daemon.process.poll() for daemon in (plant.gateway, *workers)] == [None, None, None]
