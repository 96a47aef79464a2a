"""Runs that come in without a pause while something happens to a cluster, and what must have become of them."""

from __future__ import annotations

import threading
from collections import Counter

import requests

from tests.support.commands import Daemon
from tests.support.fleet import TAG, flow
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
    :ivar refusals: how often the gateway answered with which status instead.
    """

    def __init__(self, url: str) -> None:
        self.accepted: dict[str, str] = {}
        self.refusals: Counter[int] = Counter()
        self._url = f"{url}/runs/yaml"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._submit_on)
        self._thread.start()

    def stop(self) -> None:
        """Begin no submission any more, and wait for the last one."""
        self._stopping.set()
        self._thread.join()

    def wait_for_more(self, count: int = 10) -> None:
        """Wait until the gateway has accepted so many more."""
        wanted = len(self.accepted) + count
        eventually(lambda: len(self.accepted) >= wanted, what="runs being accepted", timeout_sec=PATIENCE_SEC)

    def _submit_on(self) -> None:
        session = requests.Session()
        name = 0
        while not self._stopping.wait(0.05):
            query = {"flow_name": "main", "tag": TAG, "params": f'{{"name": "{name}"}}'}
            # With one key a name is one run, also where an answer says that it may have been accepted.
            headers = {"Idempotency-Key": str(name)}
            answer = session.post(self._url, params=query, data=FLOW, headers=headers, timeout=PATIENCE_SEC)
            if answer.status_code == 200:
                self.accepted[str(name)] = answer.json()["run_id"]
                name += 1
            else:
                self.refusals[answer.status_code] += 1


def check_that_each_ran_once(plant: Plant, workers: list[Daemon], submissions: Submissions) -> None:
    """Stop the stream of runs, and see how every one of them has ended."""
    submissions.stop()
    assert set(submissions.refusals) <= {503}
    for name, run_id in submissions.accepted.items():
        plant.fleet.ended(run_id, timeout_sec=SETTLE_SEC)
        assert (plant.begun(name, "one"), plant.begun(name, "two")) == (1, 1), plant.fleet.run(run_id)
    assert plant.fleet.queue_is_empty()
    assert plant.fleet.dead_letters() == []
    # None of them was started again.
    assert [daemon.process.poll() for daemon in (plant.gateway, *workers)] == [None, None, None]
