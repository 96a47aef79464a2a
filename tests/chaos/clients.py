"""Clients that submit without an end, through whichever gateway answers, each run once."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass

import requests

from tests.chaos.site import TAGS
from tests.support.insist import submit_until_accepted

FLOW = """\
version: 1
flow:
  graph: |
    first >> left
    first >> right
    (left & right) >> last
  defaults: {name: "", pause: 0.1, fails: false}
tasks:
  first: {callable: "chaos_tasks:first"}
  left: {callable: "chaos_tasks:left"}
  right: {callable: "chaos_tasks:right"}
  last: {callable: "chaos_tasks:last"}
"""


@dataclass(frozen=True)
class Demand:
    """What runs are asked for.

    :param pauses_sec: how long their tasks take, each as likely as the others.
    :param failing: share of the runs that fail, and are tried once more.
    :param cancelled: share of the runs that are cancelled at once.
    """

    pauses_sec: tuple[float, ...] = (0.0, 0.1, 1.0)
    failing: float = 0.1
    cancelled: float = 0.05


class Clients:
    """Threads that submit, and what they were told.

    :ivar accepted: the run id by the name that its tasks note.
    :ivar tried_again: why submissions were sent once more, and how often: a status, or the name of an error.
    :ivar faults: submissions that went as none may.
    """

    def __init__(self, urls: list[str], seed: int, demand: Demand | None = None, count: int = 3) -> None:
        self._urls = urls
        self._demand = demand or Demand()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.accepted: dict[str, str] = {}
        self.tried_again: Counter[str] = Counter()
        self.faults: list[str] = []
        self._threads = [
            threading.Thread(target=self._submit_on, args=(number, random.Random(f"{seed} {number}")))
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no submission any more, and wait for those that were begun."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _submit_on(self, thread: int, chance: random.Random) -> None:
        session = requests.Session()
        number = 0
        while not self._stopping.is_set():
            name = f"{thread}-{number}"
            number += 1
            try:
                fails = chance.random() < self._demand.failing
                pause_sec = chance.choice(self._demand.pauses_sec)
                run_id = self._submit(session, name, chance, pause_sec=pause_sec, fails=fails)
                with self._lock:
                    self.accepted[name] = run_id
                if chance.random() < self._demand.cancelled:
                    with contextlib.suppress(requests.RequestException):
                        session.post(f"{chance.choice(self._urls)}/runs/{run_id}/cancel", timeout=5)
            except Exception as exc:
                # A client that ended here would be missed by nobody.
                with self._lock:
                    self.faults.append(f"{name}: {exc!r}")
            time.sleep(chance.uniform(0.0, 0.5))

    def submit(self, name: str, pause_sec: float) -> None:
        """Submit one more run until a gateway accepts it, and note its id.

        :raises AssertionError: it was refused, or not accepted in two minutes.
        """
        with requests.Session() as session:
            run_id = self._submit(session, name, random.Random(name), pause_sec=pause_sec, fails=False)
        with self._lock:
            self.accepted[name] = run_id

    def _submit(
        self, session: requests.Session, name: str, chance: random.Random, *, pause_sec: float, fails: bool
    ) -> str:
        params = f'{{"name": "{name}", "pause": {pause_sec}, "fails": {str(fails).lower()}}}'
        query = {"flow_name": "main", "tag": chance.choice(TAGS), "params": params, "max_attempts": 1 + fails}
        query["retry_delay_sec"] = 1
        gateways = iter(lambda: chance.choice(self._urls), None)
        return submit_until_accepted(session, gateways, name, self._note, params=query, data=FLOW)

    def _note(self, why: str) -> None:
        with self._lock:
            self.tried_again[why] += 1
