"""What follows from the rows of the runs: indexes, and counts that are kept as rows come and go.

To keep all of it in step with each row costs several times as much as the row, so a table that is being filled has none
of it: see :func:`strip` and :func:`missing`. The database itself says what is there, also after a gateway was killed.

Source: design, section 3.
"""

from __future__ import annotations

import sqlite3

_ENDED = "('COMPLETED', 'FAILED', 'CANCELLED')"

#: Each index of a list leads with the tenant and with what it finds, goes on in the order of the list, and ends with
#: what other filters look at: so any combination of filters reads index entries alone, in order, and stops when the
#: page is full. Where the gateway asks for no keys, every run has the tenant '', so that no list needs another index.
_INDEXES = {
    "runs_by_time": "(tenant, updated_at, run_id, status, flow_name, tag, created_at)",
    "runs_by_status": "(tenant, status, updated_at, run_id, flow_name, tag, created_at)",
    "runs_by_flow": "(tenant, flow_name, updated_at, run_id, status, tag, created_at)",
    "runs_by_tag": "(tenant, tag, updated_at, run_id, status, flow_name, created_at)",
    "runs_by_workflow": "(tenant, sha256, updated_at, run_id, status, flow_name, tag, created_at)"
    " where sha256 is not null",
    "runs_by_failure": "(tenant, failure, updated_at, run_id, status, flow_name, tag, created_at)"
    " where failure is not null",
    # Of the housekeeping.
    "runs_to_sweep": "(created_at) where status = 'PENDING' and has_origin = 1 and waits_for_retry = 0",
    "runs_to_retry": "(tenant, tag) where waits_for_retry = 1",
    "runs_to_cancel": "(updated_at) where status = 'CANCELLING'",
    "runs_to_stamp": f"(revision) where expires = 0 and status in {_ENDED}",
    "runs_to_hand_out": "(tenant, tag, free_at) where free_at is not null",
    "runs_open": "(updated_at) where status in ('PENDING', 'RUNNING', 'CANCELLING')",
    "runs_leased": "(tenant) where lease_reply is not null",
    "runs_waiting": "(tag, created_at) where status = 'PENDING' and waits_for_retry = 0",
    # Of the pages alone.
    "runs_waiting_of_tenant": "(tenant, tag, created_at) where status = 'PENDING' and waits_for_retry = 0",
    "runs_at_work": "(tenant, created_at) where status in ('RUNNING', 'CANCELLING')",
    "runs_failed": "(tenant, updated_at, failure) where status = 'FAILED'",
    "runs_completed": "(tenant, flow_name, updated_at, duration_sec) where status = 'COMPLETED'",
}

#: Runs by state, tag and UTC day of the last change; by state, flow and tag; and those that ended in each hour since
#: 1970.
_COUNT = f"""
insert into run_counts
    select status, tag, cast(updated_at / 86400 as integer), count(*) from runs group by 1, 2, 3;
insert into tallies
    select tenant, status, flow_name, tag, count(*) from runs group by 1, 2, 3, 4;
insert into hours
    select tenant, cast(updated_at / 3600 as integer), status, count(*) from runs
    where status in {_ENDED} group by 1, 2, 3
"""
#: Each upsert names its key: SQLite before 3.35 asks for it, and Linux distributions that are in use bring 3.34.
_ADD = f"""
    insert into run_counts values (new.status, new.tag, cast(new.updated_at / 86400 as integer), 1)
        on conflict (status, tag, day) do update set run_count = run_count + 1;
    insert into tallies values (new.tenant, new.status, new.flow_name, new.tag, 1)
        on conflict (tenant, status, flow_name, tag) do update set run_count = run_count + 1;
    insert into hours
        select new.tenant, cast(new.updated_at / 3600 as integer), new.status, 1 where new.status in {_ENDED}
        on conflict (tenant, hour, status) do update set run_count = run_count + 1;
"""
_TAKE = """
    update run_counts set run_count = run_count - 1
        where status = old.status and tag = old.tag and day = cast(old.updated_at / 86400 as integer);
    delete from run_counts
        where status = old.status and tag = old.tag and day = cast(old.updated_at / 86400 as integer) and run_count = 0;
    update tallies set run_count = run_count - 1
        where tenant = old.tenant and status = old.status and flow_name = old.flow_name and tag = old.tag;
    delete from tallies
        where tenant = old.tenant and status = old.status and flow_name = old.flow_name and tag = old.tag
            and run_count = 0;
    update hours set run_count = run_count - 1
        where tenant = old.tenant and hour = cast(old.updated_at / 3600 as integer) and status = old.status;
    delete from hours
        where tenant = old.tenant and hour = cast(old.updated_at / 3600 as integer) and status = old.status
            and run_count = 0;
"""
#: What is counted of a run: one of which this stays, as when it is given its expiry, is not counted anew.
_OLD, _NEW = (
    f"{row}.status, {row}.tag, {row}.tenant, {row}.flow_name, cast({row}.updated_at / 3600 as integer)"
    for row in ("old", "new")
)
_TRIGGERS = {
    "run_added": f"after insert on runs begin {_ADD} end",
    "run_removed": f"after delete on runs begin {_TAKE} end",
    "run_changed": f"after update on runs when ({_OLD}) is not ({_NEW}) begin {_TAKE} {_ADD} end",
}
_COUNTED = ("run_counts", "tallies", "hours")


def strip(database: sqlite3.Connection) -> None:
    """Take all of it away, for a table that is to be filled; within a transaction of the caller's."""
    for name in _TRIGGERS:
        database.execute(f"drop trigger if exists {name}")
    for name in _INDEXES:
        database.execute(f"drop index if exists {name}")
    for name in _COUNTED:
        database.execute(f"delete from {name}")


def missing(database: sqlite3.Connection) -> list[list[str]]:
    """Give what is not there, in pieces: the statements of each belong into one transaction, so that nobody has to wait
    for all of it. Only with the last one are the counts right."""
    there = {name for (name,) in database.execute("select name from sqlite_master where type in ('index', 'trigger')")}
    pieces = [[f"create index {name} on runs {of}"] for name, of in _INDEXES.items() if name not in there]
    if not _TRIGGERS.keys() <= there:
        triggers = [f"create trigger {name} {what}" for name, what in _TRIGGERS.items()]
        pieces.append([*_COUNT.split(";"), *triggers])
    return pieces
