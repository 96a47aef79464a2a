"""Saving streams and buckets in a folder, and restoring them.

Source: design, section 9; nats-facts, G.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.overview import list_consumers, list_streams, server_facts
from pyoco_server.bridge.resources import replicas_wanted
from pyoco_server.bridge.snapshots import Archived, restore_stream, save_stream
from pyoco_server.bridge.translate import is_name_taken, lacks_servers
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import BusError, InvalidCommand, ResourceMissing
from pyoco_server.operations.manifest import (
    SavedStream,
    archive_path,
    blocks,
    check_archive,
    is_backup,
    read_manifest,
    write_manifest,
)
from pyoco_server.states import WorkerState
from pyoco_server.stores.workers import WorkerStore

#: How often a stream is restored that a gateway makes again meanwhile.
_TRIES = 5
#: Told of each stream that is done.
Report = Callable[[SavedStream], None]


def save(bus: Bus, folder: Path, chosen: Sequence[str], report: Report) -> list[SavedStream]:
    """Save streams, while everybody goes on working.

    The queue comes first: a run that comes in meanwhile is in the backup without its job, which a gateway makes anew.
    The other way round its job would be there alone.

    :param chosen: names of streams or buckets; none = all that there are.
    :raises InvalidCommand: one of them is not there, or the folder holds a backup or cannot be written.
    :raises BusError: the server cannot.
    :raises BusUnavailable: the connection was lost; what was written until then is no backup.
    """
    if is_backup(folder):
        raise InvalidCommand(f"{folder} holds a backup: name another folder.")
    streams, silent = list_streams(bus)
    found = select([stream.name for stream in streams] + silent, chosen)
    began = time.time()
    saved = []
    try:
        # There are hashes of keys in it, and what people have given their runs.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in sorted(found, key=lambda name: (name != names.WORK_STREAM, name)):
            saved.append(_save(bus, folder, name))
            report(saved[-1])
        write_manifest(folder, saved, created_at=began, server_version=server_facts(bus).version)
    except OSError as exc:
        raise InvalidCommand(f"The backup cannot be written to {folder}: {exc.strerror or exc}.") from exc
    return saved


def restore(
    bus: Bus,
    config: Config,
    folder: Path,
    chosen: Sequence[str],
    *,
    replaces: bool,
    lets_gateways_run: bool,
    report: Report,
) -> list[SavedStream]:
    """Make the streams of a backup again, with what they held.

    :param chosen: names of streams or buckets; none = all of the backup.
    :param replaces: whether streams that are there are removed before.
    :param lets_gateways_run: whether gateways may go on; what they accept meanwhile may be lost.
    :raises InvalidCommand: the backup is not whole, a worker or gateway runs, or a stream is there and must not be
        replaced.
    :raises BusError: the server cannot.
    :raises BusUnavailable: the connection was lost; what was restored until then stays.
    """
    backup = {stream.name: stream for stream in read_manifest(folder)}
    wanted = [backup[name] for name in select(list(backup), chosen)]
    # Before anything is removed.
    for stream in wanted:
        check_archive(folder, stream)
    refuse_running_workers(bus, config)
    if not lets_gateways_run:
        refuse_running_gateways(bus, config)
    present, silent = list_streams(bus)
    there = {stream.name for stream in present} | set(silent)
    blocking = [stream.name for stream in wanted if stream.name in there]
    if blocking and not replaces:
        raise InvalidCommand(
            f"NATS holds {', '.join(blocking)} already: give --replace --confirm to have what they hold removed, or "
            "restore into a NATS that is empty."
        )
    replicas = replicas_wanted(bus, config)
    for stream in wanted:
        if stream.name in there:
            _remove(bus, stream.name)
        _restore(bus, folder, stream, replicas, tries=_TRIES if replaces and lets_gateways_run else 1)
        report(stream)
    return wanted


def select(present: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """Give the streams that are meant; a bucket may be named without the prefix of its stream.

    :raises InvalidCommand: there is none of that name.
    """
    if not chosen:
        return list(present)
    found: dict[str, None] = {}
    for name in chosen:
        meant = [each for each in (name, names.bucket_stream(name), names.object_stream(name)) if each in present]
        if not meant:
            raise InvalidCommand(
                f"There is no stream or bucket {name}: there are {', '.join(sorted(present)) or 'none'}."
            )
        found.update(dict.fromkeys(meant))
    return list(found)


def refuse_running_workers(bus: Bus, config: Config) -> None:
    """Make sure that nobody executes what is about to be replaced.

    :raises InvalidCommand: a worker has shown itself lately; it is named.
    """
    stream = names.bucket_stream(config.workers_kv_bucket)
    try:
        now = bus.server_time(stream)
        entries = WorkerStore(bus, config).all()
    except ResourceMissing:
        return
    live = [
        entry.record.worker_id
        for entry in entries
        if entry.record.state in (WorkerState.RUNNING, WorkerState.IDLE)
        and entry.record.lost_at is None
        and now - entry.stored_at <= config.worker_disconnect_timeout_sec
    ]
    if live:
        raise InvalidCommand(f"Workers are running: {', '.join(sorted(live))}. Stop them, and the gateways, too.")


def refuse_running_gateways(bus: Bus, config: Config) -> None:
    """Make sure that nobody submits to what is about to be replaced.

    Gateways of 0.5.1 are not seen.

    :raises InvalidCommand: a gateway follows the runs; it is named.
    """
    try:
        consumers = list_consumers(bus, names.bucket_stream(config.runs_kv_bucket))
    except ResourceMissing:
        return
    # A backup brings the consumers that gateways had when it was made, and from those nobody reads.
    told = [str(consumer.settings.get("description", "")) for consumer in consumers if consumer.pull_count]
    live = {text.removeprefix(names.GATEWAY).strip() for text in told if text.startswith(names.GATEWAY)}
    if live:
        raise InvalidCommand(
            f"Gateways are running: {', '.join(sorted(live))}. Stop them, or give --despite-gateways and lose what "
            "they accept meanwhile."
        )


def _save(bus: Bus, folder: Path, name: str) -> SavedStream:
    path = archive_path(folder, name)
    digest = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:

        def write(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        archived = save_stream(bus, name, write)
        file.flush()
        os.fsync(file.fileno())
        size_bytes = file.tell()
    return SavedStream(name, size_bytes, digest.hexdigest(), archived.settings, archived.state)


def _remove(bus: Bus, name: str) -> None:
    with contextlib.suppress(ResourceMissing):
        bus.api(f"STREAM.DELETE.{name}")


def _restore(bus: Bus, folder: Path, stream: SavedStream, replicas: int, tries: int) -> None:
    settings = {**stream.settings, "num_replicas": replicas}
    try:
        state = restore_stream(bus, Archived(settings, stream.state), blocks(archive_path(folder, stream.name)))
    except BusError as exc:
        if lacks_servers(exc) and replicas > 1:
            _restore(bus, folder, stream, 1, tries)
            return
        if is_name_taken(exc) and tries > 1:
            # A gateway that goes on misses it, and has made an empty one.
            _remove(bus, stream.name)
            _restore(bus, folder, stream, replicas, tries - 1)
            return
        raise
    # Messages may have expired meanwhile; nothing else may be missing.
    if state.get("last_seq", 0) < stream.state["last_seq"]:
        raise BusError(
            f"NATS has restored {stream.name} up to {state.get('last_seq')}, not {stream.state['last_seq']}."
        )
