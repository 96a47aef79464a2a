"""The tables of the read model, and how a snapshot becomes a row.

Source: design, section 3.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import re
import sqlite3
from typing import Any

from pyoco_server.contract.json_text import to_json
from pyoco_server.contract.projections import SUMMARY_FIELDS, without_records
from pyoco_server.errors import InvalidSetting
from pyoco_server.states import RunStatus

logger = logging.getLogger(__name__)

#: Raised when the tables change: a file of another version is rebuilt from the stream.
SCHEMA_VERSION = 11
#: Marks a file as ours ("PYOC"), so that nobody else's database is emptied.
_APPLICATION_ID = 0x50594F43
#: Of a larger snapshot only what lists show is kept here; whoever wants the rest asks the store.
_MAX_DOCUMENT_CHARS = 8_192
#: What differs between two errors of one kind: numbers, addresses, ids.
_VARYING = re.compile(r"\b0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8}[0-9a-fA-F-]*|\d+(\.\d+)?")
_MAX_KIND_CHARS = 200

# Runs are counted as they change (by state, tag, and UTC day of the last change), so that nobody has to go through all
# of them for a number.
#
# Each index leads with the tenant and with what it finds, goes on in the order of the list, and ends with what other
# filters look at: so any combination of filters reads index entries alone, in order, and stops when the page is full.
# Where the gateway asks for no keys, every run has the tenant '', so that nobody's list needs another index.
#
# The indexes after those of the sweep serve the pages alone. What pages count over all runs stands in two more small
# tables: `tallies` holds runs by state, flow and tag, `hours` those that ended in each hour since 1970.
_TABLES = """
create table runs (
    run_id text primary key,
    revision integer not null,
    status text not null,
    flow_name text not null,
    tag text not null,
    tenant text not null,
    sha256 text,
    has_origin integer not null,
    attempt integer not null,
    waits_for_retry integer not null,
    created_at real not null,
    updated_at real not null,
    duration_sec real,
    failure text,
    lease_until real,
    lease_reply text,
    timeout_at real,
    free_at real,
    is_whole integer not null,
    document text not null
) without rowid;
create index runs_by_time on runs (tenant, updated_at, run_id, status, flow_name, tag, created_at);
create index runs_by_status on runs (tenant, status, updated_at, run_id, flow_name, tag, created_at);
create index runs_by_flow on runs (tenant, flow_name, updated_at, run_id, status, tag, created_at);
create index runs_by_tag on runs (tenant, tag, updated_at, run_id, status, flow_name, created_at);
create index runs_by_workflow on runs (tenant, sha256, updated_at, run_id, status, flow_name, tag, created_at);
create index runs_to_sweep on runs (created_at, run_id, attempt)
    where status = 'PENDING' and has_origin = 1 and waits_for_retry = 0;
create index runs_to_retry on runs (tenant, tag, run_id, revision) where waits_for_retry = 1;
create index runs_to_cancel on runs (updated_at, run_id) where status = 'CANCELLING';
create index runs_open on runs (updated_at, run_id) where status in ('PENDING', 'RUNNING', 'CANCELLING');
create table retained (run_id text primary key, is_ghost integer not null) without rowid;
create trigger runs_not_retained before insert on runs begin
    delete from retained where run_id = new.run_id;
end;
create index runs_waiting on runs (tag, created_at) where status = 'PENDING' and waits_for_retry = 0;
create table run_counts (
    status text not null,
    tag text not null,
    day integer not null,
    count integer not null,
    primary key (status, tag, day)
) without rowid;
create trigger runs_counted after insert on runs begin
    insert into run_counts values (new.status, new.tag, cast(new.updated_at / 86400 as integer), 1)
        on conflict do update set count = count + 1;
end;
create trigger runs_uncounted after delete on runs begin
    update run_counts set count = count - 1
        where status = old.status and tag = old.tag and day = cast(old.updated_at / 86400 as integer);
    delete from run_counts
        where status = old.status and tag = old.tag and day = cast(old.updated_at / 86400 as integer) and count = 0;
end;
create index runs_by_failure on runs (tenant, failure, updated_at, run_id, status, flow_name, tag, created_at)
    where failure is not null;
create index runs_failed on runs (tenant, updated_at, failure, run_id) where status = 'FAILED';
create index runs_completed on runs (tenant, flow_name, updated_at, duration_sec) where status = 'COMPLETED';
create index runs_waiting_of_tenant on runs (tenant, tag, created_at)
    where status = 'PENDING' and waits_for_retry = 0;
create index runs_at_work on runs (tenant, created_at, run_id) where status in ('RUNNING', 'CANCELLING');
create table tallies (tenant text, status text, flow_name text, tag text, run_count integer not null,
    primary key (tenant, status, flow_name, tag)) without rowid;
create table hours (tenant text, hour integer, status text, run_count integer not null,
    primary key (tenant, hour, status)) without rowid;
create trigger run_added after insert on runs begin
    insert into tallies values (new.tenant, new.status, new.flow_name, new.tag, 1)
        on conflict do update set run_count = run_count + 1;
end;
create trigger run_removed after delete on runs begin
    update tallies set run_count = run_count - 1
        where tenant = old.tenant and status = old.status and flow_name = old.flow_name and tag = old.tag;
    delete from tallies
        where tenant = old.tenant and status = old.status and flow_name = old.flow_name and tag = old.tag
            and run_count = 0;
end;
create trigger end_added after insert on runs when new.status in ('COMPLETED', 'FAILED', 'CANCELLED') begin
    insert into hours values (new.tenant, cast(new.updated_at / 3600 as integer), new.status, 1)
        on conflict do update set run_count = run_count + 1;
end;
create trigger end_removed after delete on runs when old.status in ('COMPLETED', 'FAILED', 'CANCELLED') begin
    update hours set run_count = run_count - 1
        where tenant = old.tenant and hour = cast(old.updated_at / 3600 as integer) and status = old.status;
    delete from hours
        where tenant = old.tenant and hour = cast(old.updated_at / 3600 as integer) and status = old.status
            and run_count = 0;
end;
create index runs_leased on runs (run_id) where lease_reply is not null;
create index runs_to_hand_out on runs (tenant, tag, free_at) where free_at is not null;
create table workers (worker_id text primary key, revision integer not null, document text not null);
create table position (name text primary key, stream text not null, created text not null, seq integer not null);
"""


def open_database(path: str, *, has_tenants: bool) -> sqlite3.Connection:
    """Open the database, empty when it is new, of another version or damaged.

    One connection serves all threads behind the model's lock: a query takes microseconds, and readers of an
    in-memory database with several connections get "table is locked" instead of waiting.

    :param has_tenants: see :func:`run_row`; a file that was made the other way counts as of another version.
    :raises InvalidSetting: the file cannot be used: its folder is missing, it is another program's database, or
        another gateway has it open.
    """
    try:
        return _opened(path, has_tenants)
    except sqlite3.OperationalError as exc:
        raise InvalidSetting(
            f"PYOCO_READ_MODEL_PATH={path!r} cannot be used: {exc}. Give each gateway a file of its own in a folder "
            "that exists, or leave the variable out."
        ) from exc
    except sqlite3.DatabaseError as exc:
        # What is in it can be had again from NATS, so it must not stop the start.
        logger.warning("%s is damaged (%s) and is made anew; what it was is kept as %s.damaged", path, exc, path)
        os.replace(path, f"{path}.damaged")
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path + suffix)
        return _opened(path, has_tenants)


def _opened(path: str, has_tenants: bool) -> sqlite3.Connection:
    # The lock is taken at once or not at all: only another gateway can hold it.
    database = sqlite3.connect(path, timeout=0.1, isolation_level=None, check_same_thread=False)
    try:
        _prepare(database, path, has_tenants)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: str, has_tenants: bool) -> None:
    """Check the file, keep others out of it, and make the tables where they are not as they should be."""
    application_id = database.execute("pragma application_id").fetchone()[0]
    tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
    if tables and application_id != _APPLICATION_ID:
        raise InvalidSetting(f"PYOCO_READ_MODEL_PATH={path!r} is another program's database. Name another file.")
    # Without it a row that is replaced is not uncounted.
    database.execute("pragma recursive_triggers = on")
    if path != ":memory:":
        # Two gateways in one file would each undo what the other has applied.
        database.execute("pragma locking_mode = exclusive")
        database.execute("pragma journal_mode = wal")
        # Losing the file costs a rebuild of seconds, so it need not wait for the disk.
        database.execute("pragma synchronous = off")
    database.execute("begin immediate")
    database.execute("commit")
    (finding,) = database.execute("pragma quick_check(1)").fetchone()
    if finding != "ok":
        raise sqlite3.DatabaseError(finding)
    version = 2 * SCHEMA_VERSION + has_tenants
    if database.execute("pragma user_version").fetchone()[0] == version:
        return
    statements = [f'drop table "{table}";' for table in tables]
    database.executescript(
        f"begin; {''.join(statements)} {_TABLES} pragma application_id = {_APPLICATION_ID};"
        f" pragma user_version = {version}; commit;"
    )


def run_row(
    key: str, payload: bytes, revision: int, *, has_tenants: bool, disconnect_timeout_sec: float
) -> tuple[Any, ...]:
    """Make the row of a snapshot, in the order of the table.

    :param key: the run id by which it is stored.
    :param has_tenants: whether runs are told apart by tenant; else all have the tenant ''.
    :param disconnect_timeout_sec: silence after which the holder of a run counts as gone.
    :raises ValueError: the payload is not the snapshot of this run; says why.
    """
    document = json.loads(payload)
    if not isinstance(document, dict) or document.get("run_id") != key:
        raise ValueError("not a snapshot of this run")
    updated_at = _moment(document, "updated_at", "heartbeat_at")
    created_at = _moment(document, "submitted_at", "start_time", "updated_at", "heartbeat_at")
    small = without_records(document)
    text = to_json(small)
    is_whole = len(text) <= _MAX_DOCUMENT_CHARS
    if not is_whole:
        text = to_json({name: small[name] for name in SUMMARY_FIELDS if name in small})
    return (
        key,
        revision,
        RunStatus(document.get("status")).value,
        _string(document, "flow_name"),
        _string(document, "tag"),
        _string(document, "tenant_id") if has_tenants else "",
        _string(document, "workflow_yaml_sha256") or None,
        int(document.get("origin") is not None),
        _count(document, "attempt"),
        int(document.get("status") == RunStatus.PENDING.value and document.get("retry_at") is not None),
        created_at,
        updated_at,
        _duration_sec(document),
        failure_of(document.get("error")) if document["status"] == RunStatus.FAILED.value else None,
        _moment(document, "lease_until") or None,
        _string(document, "lease_reply") or None,
        _moment(document, "timeout_at") or None,
        _free_at(document, updated_at + disconnect_timeout_sec),
        int(is_whole),
        text,
    )


def _free_at(document: dict[str, Any], silent_at: float) -> float | None:
    """Say from when on a worker that asks over HTTP may be given the run, as far as a snapshot tells.

    :param silent_at: when the holder will have been silent for too long.
    :return: unix seconds, 0 = now; ``None`` = not as it stands: such a worker knows the tasks of its own file alone.
    """
    status = document["status"]
    is_open = status in (RunStatus.PENDING.value, RunStatus.RUNNING.value) and document.get("retry_at") is None
    if not is_open or document.get("workflow_yaml_sha256") is not None:
        return None
    # A worker of 0.5.1 writes neither its id nor an attempt.
    is_released = document.get("worker_id") is None and _count(document, "attempt") > 0
    is_held = status == RunStatus.RUNNING.value and not is_released
    return (_moment(document, "lease_until") or silent_at) if is_held else 0.0


def failure_of(error: Any) -> str:
    """Name the kind of a failure: the same for errors whose first lines differ in nothing but numbers and ids."""
    lines = error.strip().splitlines() if isinstance(error, str) else []
    kind = _VARYING.sub("#", lines[0][:_MAX_KIND_CHARS]) if lines else ""
    return hashlib.sha256(kind.encode(errors="replace")).hexdigest()[:12]


def _duration_sec(document: dict[str, Any]) -> float | None:
    """Give how long a run took, from its claim to its end; ``None`` while it has no end."""
    try:
        begun_at, ended_at = _moment(document, "start_time"), _moment(document, "end_time")
    except ValueError:
        return None
    return ended_at - begun_at if 0.0 < begun_at <= ended_at else None


def _string(document: dict[str, Any], name: str) -> str:
    value = document.get(name) or ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    # What no encoding has can stand neither in a table nor in an answer; this raises a ValueError, too.
    value.encode()
    return value


def _count(document: dict[str, Any], name: str) -> int:
    value = document.get(name) or 0
    if not isinstance(value, int) or abs(value) > 2**62:
        raise ValueError(f"{name} is not a count")
    return int(value)


def _moment(document: dict[str, Any], *names: str) -> float:
    """Give the first of these times that is set; 0 when none is."""
    for name in names:
        value = document.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
            raise ValueError(f"{name} is not a time")
        if math.isfinite(value) and value:
            return float(value)
    return 0.0
