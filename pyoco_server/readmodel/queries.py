"""The list of runs: what can be asked, and the statement that answers it.

Source: contract, section 3, row ``GET /runs``.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from typing import Any

#: Sorts after every text that begins with a prefix.
_AFTER_PREFIX = "\U0010ffff"
_ORDER = "order by updated_at desc, run_id desc limit ?"


@dataclass(frozen=True)
class Cursor:
    """Where a page ended: the place of its last run in the list."""

    updated_at: float
    run_id: str

    def __str__(self) -> str:
        """Give it as clients see it: opaque."""
        return base64.urlsafe_b64encode(json.dumps([self.updated_at, self.run_id]).encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor.

        :raises ValueError: it is not one of ours.
        """
        try:
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            updated_at, run_id = json.loads(base64.urlsafe_b64decode(padded))
            if not isinstance(updated_at, float) or not math.isfinite(updated_at) or not isinstance(run_id, str):
                raise ValueError("not a place in the list")
            run_id.encode()
            return cls(updated_at, run_id)
        except (ValueError, TypeError, RecursionError):
            raise ValueError("is not a cursor of this list; take next_cursor of the page before as it is") from None


@dataclass(frozen=True)
class RunQuery:
    """Which runs a list shows, newest ``updated_at`` first.

    A run that changes while somebody goes through the pages moves to the front of the list: nobody sees it twice,
    and who has not seen it yet finds it by ``updated_after``.

    :param tenant_id: whose runs; ``None`` where the gateway asks for no keys: all. It has no default, so that no list
        forgets it.
    :param updated_after: unix seconds, exclusive; so is ``created_after``.
    :param prefix: beginning of a run id or of a flow name.
    :param failure: the kind of error, as :func:`failure_of` names it.
    """

    tenant_id: str | None
    limit: int
    statuses: tuple[str, ...] = ()
    flow_name: str | None = None
    tag: str | None = None
    sha256: str | None = None
    updated_after: float | None = None
    created_after: float | None = None
    prefix: str | None = None
    failure: str | None = None
    cursor: Cursor | None = None

    def statement(self) -> tuple[str, list[Any]]:
        """Give the statement and its values; it selects ``updated_at, run_id, document``, one row more than a page.

        The page is found in one index, named here because SQLite has no statistics to choose it by; the documents
        are read for its runs alone.
        """
        scans = [self._scan(self.statuses)]
        if len(self.statuses) > 1 and self._index() == "runs_by_status":
            scans = [self._scan((status,)) for status in self.statuses]
        page = " union all ".join(f"select * from ({text})" for text, _ in scans)
        values = [value for _, given in scans for value in given]
        if len(scans) > 1:
            page = f"select * from ({page}) {_ORDER}"
            values.append(self.limit + 1)
        return (
            f"select page.updated_at, page.run_id, runs.document from ({page}) as page"
            " cross join runs on runs.rowid = page.place order by page.updated_at desc, page.run_id desc"
        ), values

    def _index(self) -> str:
        """Name the index that narrows the list most."""
        if self.failure is not None:
            return "runs_by_failure"
        if self.sha256 is not None:
            return "runs_by_workflow"
        if self.flow_name is not None:
            return "runs_by_flow"
        if self.tag is not None:
            return "runs_by_tag"
        return "runs_by_status" if self.statuses else "runs_by_time"

    def _scan(self, statuses: tuple[str, ...]) -> tuple[str, list[Any]]:
        conditions: list[str] = []
        values: list[Any] = []

        def require(condition: str, *given: Any) -> None:
            conditions.append(condition)
            values.extend(given)

        require("tenant = ?", self.tenant_id or "")
        for column, value in (
            ("flow_name", self.flow_name),
            ("tag", self.tag),
            ("sha256", self.sha256),
            ("failure", self.failure),
        ):
            if value is not None:
                require(f"{column} = ?", value)
        if statuses:
            require(f"status in ({', '.join('?' * len(statuses))})" if len(statuses) > 1 else "status = ?", *statuses)
        if self.updated_after is not None:
            require("updated_at > ?", self.updated_after)
        if self.created_after is not None:
            require("created_at > ?", self.created_after)
        if self.prefix:
            end = self.prefix + _AFTER_PREFIX
            require("(run_id between ? and ? or flow_name between ? and ?)", self.prefix, end, self.prefix, end)
        if self.cursor is not None:
            require("(updated_at, run_id) < (?, ?)", self.cursor.updated_at, self.cursor.run_id)
        where = " and ".join(conditions)
        text = f"select updated_at, run_id, rowid as place from runs indexed by {self._index()} where {where} {_ORDER}"
        return text, [*values, self.limit + 1]
