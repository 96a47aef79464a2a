"""Numbers about all runs, from counts that are kept as runs change.

Source: design, section 3; contract, section 3, row ``GET /metrics``.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyoco_server.readmodel.model import ReadModel
from pyoco_server.states import RunStatus

_DAY_SEC = 86400


@dataclass(frozen=True)
class StatusCount:
    """Runs in one state.

    :param today: those of them that changed last since midnight, UTC.
    """

    total: int = 0
    today: int = 0


@dataclass(frozen=True)
class Waiting:
    """Runs of one tag that wait.

    :param count: those that wait for a worker.
    :param retry_count: those that have failed and wait until they are tried again.
    :param oldest_at: when the oldest that waits for a worker was submitted, unix seconds; ``None`` when none does.
    """

    count: int
    retry_count: int
    oldest_at: float | None


def count_runs(model: ReadModel, now: float) -> dict[RunStatus, StatusCount]:
    """Count the runs in each state; every state is there.

    :raises ReadModelLoading: not complete.
    """
    model.catch_up()
    model.require_complete()
    statement = (
        "select status, sum(count), sum(case when day = ? then count else 0 end) from run_counts group by status"
    )
    with model.reading() as database:
        rows = database.execute(statement, (int(now // _DAY_SEC),)).fetchall()
    found = {RunStatus(status): StatusCount(total, today) for status, total, today in rows}
    return {status: found.get(status, StatusCount()) for status in RunStatus}


def count_waiting(model: ReadModel) -> dict[str, Waiting]:
    """Count what waits under each tag that any stored run has, the longest queue first.

    :raises ReadModelLoading: not complete.
    """
    model.catch_up()
    model.require_complete()
    counts = (
        "select tag, sum(case when status = 'PENDING' then count else 0 end) as waiting"
        " from run_counts group by tag order by waiting desc, tag"
    )
    retries = "select tag, count(*) from runs indexed by runs_to_retry where waits_for_retry = 1 group by tag"
    oldest = (
        "select min(created_at) from runs indexed by runs_waiting"
        " where status = 'PENDING' and waits_for_retry = 0 and tag = ?"
    )
    with model.reading() as database:
        retry_counts = dict(database.execute(retries).fetchall())
        found = {}
        for tag, pending_count in database.execute(counts).fetchall():
            retry_count = retry_counts.get(tag, 0)
            count = pending_count - retry_count
            oldest_at = database.execute(oldest, (tag,)).fetchone()[0] if count else None
            found[tag] = Waiting(count, retry_count, oldest_at)
        return found
