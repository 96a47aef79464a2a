"""Dead letters for tests, and what is asked of a gateway about them."""

from __future__ import annotations

import time
import uuid
from typing import Any

import requests

from pyoco_server.contract.deadletters import DeadLetter
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts, stored_run


class Office:
    """Dead letters of one test, under a tag of its own, of runs that have failed."""

    def __init__(self, gateway: LocalGateway, parts: Parts) -> None:
        self.gateway = gateway
        self.parts = parts
        self.tag = uuid.uuid4().hex[:8]

    def fail(self, *, is_kept: bool = True, reason: str = "execution_error", **fields: Any) -> int:
        """Leave what a failed run leaves; gives the number of its letter."""
        run = stored_run(str(uuid.uuid4()), **{"tag": self.tag, "tags": ["a"], "status": "FAILED", **fields})
        if is_kept:
            self.parts.put(run["run_id"], run)
        names = ("run_id", "flow_name", "tag", "tags", "tenant_id", "api_key_id")
        letter = DeadLetter(
            reason=reason, error="it broke", timestamp=time.time(), **{name: run[name] for name in names}
        )
        self.parts.dead_letters.publish(letter, key=run["run_id"])
        return self.last_seq()

    def last_seq(self) -> int:
        return int(self.parts.info("PYOCO_DLQ")["state"]["last_seq"])

    def seqs(self, **query: Any) -> list[int]:
        answer = self.gateway.get("/dead-letters", params={"tag": self.tag, **query})
        assert answer.status_code == 200, answer.text
        return [item["seq"] for item in answer.json()["items"]]

    def pages(self, **query: Any) -> list[list[int]]:
        """Give the numbers on each page."""
        found, cursor = [], None
        for _ in range(200):
            page = self.gateway.get("/dead-letters", params={"tag": self.tag, "cursor": cursor, **query}).json()
            found.append([item["seq"] for item in page["items"]])
            cursor = page["next_cursor"]
            if cursor is None:
                return found
        raise AssertionError("the pages do not end")

    def post(self, path: str, **query: Any) -> requests.Response:
        return self.gateway.ask("POST", f"/dead-letters/{path}", params=query)

    def delete(self, path: str = "", **query: Any) -> requests.Response:
        return self.gateway.ask("DELETE", f"/dead-letters{path}", params=query)

    def jobs(self) -> list[str]:
        """Give the run ids of the jobs of this tag."""
        return [item for item in self.parts.queued_ids() if self.parts.snapshot(item)["tag"] == self.tag]
