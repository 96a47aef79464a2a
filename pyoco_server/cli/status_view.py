"""What ``status`` shows: one document, or tables of the most of it.

Source: contract, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from pyoco_server.bridge.overview import ConsumerFacts, StreamFacts
from pyoco_server.cli.tables import print_table
from pyoco_server.operations.survey import Survey, WorkerSight

_NANOSECONDS = 1_000_000_000


def document(survey: Survey) -> dict[str, Any]:
    """Give everything that was seen as a JSON object; sizes are bytes, times seconds, ``null`` is no limit."""
    server = survey.server
    return {
        "server": {
            "name": server.name,
            "version": server.version,
            "cluster": server.cluster,
            "node_count": survey.node_count,
            "silent_urls": survey.silent_urls,
        },
        "nodes": [
            {
                "url": node.url,
                "sync_sec": node.sync_sec,
                "storage_bytes": node.storage_bytes,
                "storage_limit_bytes": node.storage_limit_bytes,
            }
            for node in survey.nodes
        ],
        "streams": [_stream(stream) for stream in survey.streams],
        "silent_streams": survey.silent_streams,
        "consumers": [_consumer(consumer) for consumer in survey.consumers],
        "stuck_jobs": [{"subject": count.subject, "count": count.lost_count} for count in survey.lost_jobs],
        "workers": [_worker(sight) for sight in survey.workers],
        "clock_ahead_sec": survey.clock_ahead_sec,
    }


def print_status(survey: Survey, stream: IO[str]) -> None:
    """Print tables for eyes."""
    found = document(survey)
    server = survey.server
    of = f"cluster {server.cluster}" if server.cluster else "a server of its own"
    count = f", {survey.node_count} servers" if server.cluster and survey.node_count else ""
    print(f"NATS {server.version} ({server.name}), {of}{count}", file=stream)
    rows = [{**entry, "limit": _limit(entry), "behind": _behind(entry)} for entry in found["streams"]]
    _print(rows, "name messages bytes limit replicas behind consumers", stream)
    _print(found["consumers"], "name waiting in_work redelivered ack_wait_sec max_deliver", stream)
    _print(found["workers"], "worker_id state tags busy slots version host clock_ahead_sec", stream)


def _print(rows: list[dict[str, Any]], columns: str, stream: IO[str]) -> None:
    if not rows:
        return
    print(file=stream)
    print_table(rows, columns.split(), stream, whole=("name", "worker_id", "state"))


def _stream(stream: StreamFacts) -> dict[str, Any]:
    return {
        "name": stream.name,
        "messages": stream.message_count,
        "bytes": stream.byte_count,
        "max_bytes": _positive(stream.settings.get("max_bytes")),
        "max_messages": _positive(stream.settings.get("max_msgs")),
        "max_age_sec": None if not stream.settings.get("max_age") else stream.settings["max_age"] / _NANOSECONDS,
        "replicas": stream.replica_count,
        "leader": stream.leader,
        "peers": [
            {
                "name": replica.name,
                "current": replica.is_current,
                "offline": replica.is_offline,
                "silent_sec": round(replica.silent_sec, 3),
                "lag": replica.lag_count,
            }
            for replica in stream.replicas
        ],
        "consumers": stream.consumer_count,
    }


def _consumer(consumer: ConsumerFacts) -> dict[str, Any]:
    return {
        "name": consumer.name,
        "waiting": consumer.waiting_count,
        "in_work": consumer.in_work_count,
        "redelivered": consumer.redelivered_count,
        "ack_wait_sec": consumer.ack_wait_sec,
        "max_deliver": consumer.settings.get("max_deliver"),
        "max_ack_pending": consumer.settings.get("max_ack_pending"),
    }


def _worker(sight: WorkerSight) -> dict[str, Any]:
    record = sight.view.record
    return {
        "worker_id": record.worker_id,
        "state": sight.view.state.value,
        "tags": sight.view.tags,
        "busy": sight.view.busy_count,
        "slots": sight.view.slot_count,
        "version": record.version,
        "host": record.host,
        "silent_sec": round(sight.silent_sec, 3),
        "clock_ahead_sec": None if sight.clock_ahead_sec is None else round(sight.clock_ahead_sec, 3),
    }


def _positive(limit: Any) -> int | None:
    return int(limit) if isinstance(limit, int) and limit > 0 else None


def _limit(entry: Mapping[str, Any]) -> str:
    """Give the limits of a stream in one cell: bytes, messages, seconds."""
    units = {"max_bytes": "B", "max_messages": "messages", "max_age_sec": "s"}
    return " ".join(f"{entry[name]:.0f} {unit}" for name, unit in units.items() if entry[name] is not None)


def _behind(entry: Mapping[str, Any]) -> list[str]:
    """Name the servers whose copy is not whole."""
    return [peer["name"] for peer in entry["peers"] if peer["offline"] or not peer["current"]]
