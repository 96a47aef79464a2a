"""What the pages ask of all runs together: counts, queues, failures by kind, usual durations.

Each question is answered from an index or a tally that holds nothing else, and bounded, so that the answer takes as
long with 100,000 runs as with 100.

Source: design, sections 3 and 11.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyoco_server.readmodel.model import ReadModel

#: Failures looked at, newest first, when they are grouped by kind.
MAX_FAILURES = 2_000
#: Completed runs of a flow whose median is its usual duration: so many at most, and so many at least.
_MAX_SAMPLES = 101
_MIN_SAMPLES = 5
#: How far back completed runs count for it.
USUAL_WINDOW_SEC = 30 * 86_400.0
#: Names offered by a filter.
_MAX_NAMES = 200


@dataclass(frozen=True)
class WaitingTag:
    """The runs that wait under one tag.

    :param retry_count: those of them that have failed and wait until they are tried again.
    :param oldest_at: when the oldest of the others was submitted, unix seconds; ``None`` where there is none.
    """

    tag: str
    run_count: int
    retry_count: int
    oldest_at: float | None


@dataclass(frozen=True)
class FailureGroup:
    """Failures of one kind.

    :param failure: names the kind, for a filter of the list.
    :param newest: the snapshot of the newest of them, as lists have it.
    """

    failure: str
    run_count: int
    last_at: float
    newest: dict[str, Any]


class Reports:
    """Questions to the read model; each raises :class:`ReadModelLoading` while it is not complete.

    :param tenant_id: whose runs count; ``None`` where the gateway asks for no keys: all.
    """

    def __init__(self, model: ReadModel, tenant_id: str | None) -> None:
        self._model = model
        self._tenant = tenant_id or ""

    def counts(self) -> dict[str, int]:
        """Give the number of runs in each state that has any."""
        return dict(self._rows("select status, sum(run_count) from tallies where tenant = ? group by status"))

    def flow_names(self) -> list[str]:
        """Give the flows that have runs, those with most first."""
        return self._names("flow_name")

    def tags(self) -> list[str]:
        """Give the routing tags that have runs, those with most first."""
        return self._names("tag")

    def waiting(self) -> list[WaitingTag]:
        """Give the tags under which runs wait, the one that waits longest first."""
        statement = (
            "select tag, sum(run_count),"
            " (select count(*) from runs indexed by runs_to_retry"
            " where runs.tenant = tallies.tenant and runs.tag = tallies.tag and waits_for_retry = 1),"
            " (select min(created_at) from runs indexed by runs_waiting_of_tenant where runs.tenant = tallies.tenant"
            " and runs.status = 'PENDING' and waits_for_retry = 0 and runs.tag = tallies.tag) as oldest_at"
            " from tallies where tenant = ? and status = 'PENDING' group by tag order by oldest_at is null, oldest_at"
        )
        return [WaitingTag(*row) for row in self._rows(statement)]

    def polled_tags(self, now: float) -> set[str]:
        """Give the tags that workers serve which ask over HTTP, as far as their runs show it: they have no record.

        One of a tag's runs is in their hands, and one waits that they may be given: runs with a flow.yaml they are not.
        """
        statement = (
            "select distinct tag from runs as held indexed by runs_leased"
            " where tenant = ? and lease_reply is not null and lease_until > ?"
            " and exists (select 1 from runs indexed by runs_to_hand_out where runs.tenant = held.tenant"
            " and runs.tag = held.tag and free_at is not null and free_at < ?)"
        )
        return {tag for (tag,) in self._rows(statement, now, now)}

    def at_work(self, limit: int) -> list[dict[str, Any]]:
        """Give the runs that somebody holds, those that were submitted first first; as lists have them."""
        statement = (
            "select document from runs indexed by runs_at_work"
            " where tenant = ? and status in ('RUNNING', 'CANCELLING') order by created_at limit ?"
        )
        return [json.loads(document) for (document,) in self._rows(statement, limit)]

    def ended_since(self, status: str, since: float) -> int:
        """Count the runs that ended in this state after a moment."""
        statement = (
            "select count(*) from runs indexed by runs_by_status where tenant = ? and status = ? and updated_at > ?"
        )
        count: int = self._rows(statement, status, since)[0][0]
        return count

    def ended_by_hour(self, since_hour: int) -> dict[int, dict[str, int]]:
        """Give the runs that ended in each hour from this one on: hours since 1970, then states, then counts."""
        statement = "select hour, status, run_count from hours where tenant = ? and hour >= ?"
        found: dict[int, dict[str, int]] = {}
        for hour, status, count in self._rows(statement, since_hour):
            found.setdefault(hour, {})[status] = count
        return found

    def failures(self, since: float, limit: int) -> list[FailureGroup]:
        """Group the latest failures by kind, the most frequent kind first.

        :param since: unix seconds; of more than :data:`MAX_FAILURES` after it the newest are looked at.
        """
        groups = (
            "select failure, count(*) as run_count, max(updated_at) as last_at, place from"
            " (select failure, updated_at, rowid as place from runs indexed by runs_failed"
            " where tenant = ? and status = 'FAILED' and updated_at > ? order by updated_at desc limit ?)"
            " group by failure order by run_count desc, last_at desc limit ?"
        )
        statement = (
            f"select page.failure, page.run_count, page.last_at, runs.document from ({groups}) as page"
            " cross join runs on runs.rowid = page.place order by page.run_count desc, page.last_at desc"
        )
        rows = self._rows(statement, since, MAX_FAILURES, limit)
        return [
            FailureGroup(failure, run_count, last_at, json.loads(newest))
            for failure, run_count, last_at, newest in rows
        ]

    def usual_durations(self, flow_names: Iterable[str], since: float) -> dict[str, float]:
        """Give how long flows usually take: the median of their latest completed runs, seconds.

        :param since: only runs that ended after it count, unix seconds.
        :return: without the flows that have too few of them.
        """
        statement = (
            "select duration_sec from runs indexed by runs_completed where tenant = ? and status = 'COMPLETED'"
            " and flow_name = ? and updated_at > ? order by updated_at desc limit ?"
        )
        usual = {}
        # Whoever asks may have read a run that no list takes, because its flow's name has no encoding.
        for name in {name.encode(errors="replace").decode() for name in flow_names}:
            rows = self._rows(statement, name, since, _MAX_SAMPLES)
            samples = [duration for (duration,) in rows if duration is not None]
            if len(samples) >= _MIN_SAMPLES:
                usual[name] = statistics.median(samples)
        return usual

    def _names(self, column: str) -> list[str]:
        statement = (
            f"select {column} from tallies where tenant = ?"
            f" group by {column} order by sum(run_count) desc, {column} limit ?"
        )
        return [name for (name,) in self._rows(statement, _MAX_NAMES)]

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        """Give the rows of a statement whose first value is the tenant."""
        self._model.catch_up()
        with self._model.complete() as database:
            return database.execute(statement, (self._tenant, *values)).fetchall()
