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
    statement = (
        "select status, sum(run_count), sum(case when day = ? then run_count else 0 end)"
        " from run_counts group by status"
    )
    model.catch_up()
    with model.complete() as database:
        rows = database.execute(statement, (int(now // _DAY_SEC),)).fetchall()
    found = {RunStatus(status): StatusCount(total, today) for status, total, today in rows}
    return {status: found.get(status, StatusCount()) for status in RunStatus}


def count_waiting(model: ReadModel) -> dict[str, Waiting]:
    """Count what waits under each tag that any stored run has, the longest queue first.

    :raises ReadModelLoading: not complete.
    """
    statement = (
        "with"
        " counts as (select tag, sum(case when status = 'PENDING' then run_count else 0 end) as pending"
        " from run_counts group by tag),"
        " retries as (select tag, count(*) as retrying from runs indexed by runs_to_retry"
        " where waits_for_retry = 1 group by tag)"
        " select tag, pending, coalesce(retrying, 0), case when pending > coalesce(retrying, 0) then"
        " (select min(created_at) from runs indexed by runs_waiting"
        " where status = 'PENDING' and waits_for_retry = 0 and runs.tag = counts.tag) end"
        " from counts left join retries using (tag) order by pending desc, tag"
    )
    model.catch_up()
    with model.complete() as database:
        rows = database.execute(statement).fetchall()
    return {tag: Waiting(pending - retrying, retrying, oldest_at) for tag, pending, retrying, oldest_at in rows}
