"""Clients that submit without an end, through whichever gateway answers, each run once."""

from __future__ import annotations

import contextlib
import random
import threading
import time

import requests

from tests.chaos.site import TAGS

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
_PATIENCE_SEC = 60.0


class Clients:
    """Threads that submit, and what they were told.

    :ivar accepted: the run id by the name that its tasks note.
    :ivar faults: submissions that went as none may.
    """

    def __init__(self, urls: list[str], seed: int, count: int = 3) -> None:
        self._urls = urls
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.accepted: dict[str, str] = {}
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
                run_id = self._submit(session, name, chance)
                with self._lock:
                    self.accepted[name] = run_id
                if chance.random() < 0.05:
                    with contextlib.suppress(requests.RequestException):
                        session.post(f"{chance.choice(self._urls)}/runs/{run_id}/cancel", timeout=5)
            except Exception as exc:
                # A client that ended here would be missed by nobody.
                with self._lock:
                    self.faults.append(f"{name}: {exc!r}")
            time.sleep(chance.uniform(0.0, 0.5))

    def _submit(self, session: requests.Session, name: str, chance: random.Random) -> str:
        """Submit a run until a gateway accepts it; gives its id.

        :raises AssertionError: it was refused, or not accepted in a minute.
        """
        fails = chance.random() < 0.1
        params = f'{{"name": "{name}", "pause": {chance.choice((0.0, 0.1, 1.0))}, "fails": {str(fails).lower()}}}'
        query = {"flow_name": "main", "tag": chance.choice(TAGS), "params": params, "max_attempts": 1 + fails}
        query["retry_delay_sec"] = 1
        deadline = time.monotonic() + _PATIENCE_SEC
        while time.monotonic() < deadline:
            url = f"{chance.choice(self._urls)}/runs/yaml"
            with contextlib.suppress(requests.RequestException):
                # With one key a name is one run, however often an answer does not arrive.
                answer = session.post(url, params=query, data=FLOW, headers={"Idempotency-Key": name}, timeout=10)
                if answer.status_code == 200:
                    return str(answer.json()["run_id"])
                assert answer.status_code in (500, 502, 503), f"{answer.status_code}: {answer.text}"
            time.sleep(0.2)
        raise AssertionError("no gateway accepted it in a minute")
