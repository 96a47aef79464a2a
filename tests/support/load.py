"""A light load: somebody submits a small run now and then, whatever happens, and counts in the end.

Each run notes its key in a file outside of the system, so a run that was executed twice is seen.
"""

from __future__ import annotations

import itertools
import json
import threading
import uuid
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import requests

from tests.support.insist import submit_until_accepted
from tests.support.waiting import PATIENCE_SEC, eventually
from tests.support.wheels import wheel

_TASK = """\
def note(path, key):
    with open(path, "a") as file:
        file.write(key + "\\n")
"""
_FLOW = """\
version: 1
tasks:
  note: {callable: "ledger:note"}
flow:
  graph: note
"""
_PAUSE_SEC = 0.3


class Load:
    """Submits a run every third of a second, to one of the gateways after the other.

    :param gateways: their addresses.
    :param ledger: the file that runs write to.
    """

    def __init__(self, gateways: list[str], ledger: Path) -> None:
        self._gateways = gateways
        self._ledger = ledger
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._submit_for_ever, name="load")
        #: Run ids by what they note.
        self.accepted: dict[str, str] = {}

    def begin(self) -> None:
        files = {"wheel": ("ledger-1.0-py3-none-any.whl", wheel("ledger", files={"ledger.py": _TASK.encode()}))}
        answer = requests.post(f"{self._gateways[0]}/wheels", files=files, timeout=10)
        assert answer.ok, answer.text
        self._thread.start()

    def end(self) -> None:
        """Submit nothing more; works twice."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        assert self._failure is None, self._failure

    def wait_for_more(self, count: int = 5) -> None:
        """Wait until so many more runs were accepted."""
        enough = len(self.accepted) + count
        eventually(lambda: self._failure or len(self.accepted) >= enough, what="more runs", timeout_sec=PATIENCE_SEC)
        assert self._failure is None, self._failure

    def check(self) -> dict[str, dict[str, Any]]:
        """See that every accepted run is COMPLETED, and was executed no more often than it says; give them by id."""
        runs = {run_id: self._ended(run_id) for run_id in self.accepted.values()}
        assert {run["status"] for run in runs.values()} == {"COMPLETED"}, Counter(
            run["status"] for run in runs.values()
        )
        noted = Counter(self._ledger.read_text().split())
        for key, run_id in self.accepted.items():
            assert 1 <= noted[key] <= runs[run_id]["attempt"], (run_id, noted[key], runs[run_id])
        assert set(noted) == set(self.accepted), "a run was executed of which nobody was told"
        return runs

    def check_restored(self, keys: Collection[str]) -> None:
        """See that these runs are there again, and COMPLETED."""
        runs = [self._ended(self.accepted[key]) for key in keys]
        assert {run["status"] for run in runs} == {"COMPLETED"}
        assert set(keys) <= set(self._ledger.read_text().split())

    def _ended(self, run_id: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            run = self._get(f"/runs/{run_id}?wait=5")
            return run if run.get("end_time") else None

        return eventually(look, what=f"the end of run {run_id}", timeout_sec=PATIENCE_SEC)

    def _get(self, path: str) -> dict[str, Any]:
        for gateway in self._gateways:
            try:
                answer = requests.get(gateway + path, timeout=15)
            except requests.RequestException:
                continue
            if answer.status_code < 500:
                found: dict[str, Any] = answer.json()
                return found
        return {}

    def _submit_for_ever(self) -> None:
        gateways = itertools.cycle(self._gateways)
        try:
            with requests.Session() as session:
                while not self._stopping.wait(_PAUSE_SEC):
                    self._submit(session, gateways)
        except BaseException as exc:
            self._failure = exc

    def _submit(self, session: requests.Session, gateways: Iterator[str]) -> None:
        key = uuid.uuid4().hex
        data = {"flow_name": "ledger", "params": json.dumps({"path": str(self._ledger), "key": key})}
        files = {"workflow": _FLOW}
        self.accepted[key] = submit_until_accepted(session, gateways, key, lambda why: None, files=files, data=data)
