"""The tables of the read model, and the database that they are in.

Source: design, section 3.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3

from pyoco_server.errors import InvalidSetting

logger = logging.getLogger(__name__)

#: Raised when the tables change: a file of another version is rebuilt from the stream.
SCHEMA_VERSION = 13
#: Marks a file as ours ("PYOC"), so that nobody else's database is emptied.
_APPLICATION_ID = 0x50594F43

# What comes back from long ago as if it went on is not shown; `ghosts` remembers it until it is ended. The three tables
# of counts are kept by the triggers of `derived.py`.
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
    expires integer not null,
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
);
create table ghosts (run_id text primary key) without rowid;
create table run_counts (status text, tag text, day integer, run_count integer not null,
    primary key (status, tag, day)) without rowid;
create table tallies (tenant text, status text, flow_name text, tag text, run_count integer not null,
    primary key (tenant, status, flow_name, tag)) without rowid;
create table hours (tenant text, hour integer, status text, run_count integer not null,
    primary key (tenant, hour, status)) without rowid;
create table workers (worker_id text primary key, revision integer not null, document text not null);
create table position (name text primary key, stream text not null, created text not null, seq integer not null);
"""


def open_database(path: str, *, has_tenants: bool) -> sqlite3.Connection:
    """Open the database, empty when it is new, of another version or damaged.

    One connection serves all threads behind the model's lock: a query takes microseconds, and readers of an
    in-memory database with several connections get "table is locked" instead of waiting.

    :param has_tenants: whether runs are told apart by tenant; a file that was made the other way counts as of another
        version.
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
