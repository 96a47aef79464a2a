"""The streams, buckets and consumers that must exist: what is missing is created, what is there is left as it is.

Source: contract, section 2; design, section 9.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Any

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.translate import (
    CONSUMER_EXISTS,
    STREAM_NAME_IN_USE,
    lacks_servers,
)
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import BusDenied, BusError, ResourceMissing

_NANOSECONDS = 1_000_000_000
#: Seconds in which a bucket recognises a repeated write; the server's own default.
_BUCKET_DUPLICATE_WINDOW_SEC = 120
#: Seconds in which a dead letter is recognised that was stored already: so long may pass between the end of the process
#: that stored it and the next look at its job. The server keeps a hundred bytes for each letter of that time in memory.
_LETTER_DUPLICATE_WINDOW_SEC = 3600.0
#: The same of what a run has printed: so long NATS may be away, and what was sent to it just before is not kept twice.
_LOGS_DUPLICATE_WINDOW_SEC = 600.0
#: Of what a run prints, messages; the oldest go first. A run that never falls silent has two a second.
_LOGS_MAX_MESSAGES_PER_RUN = 40_000
#: What all kept workflow texts may take together; the oldest go first.
_WORKFLOWS_MAX_BYTES = 268_435_456
#: What all idempotency keys may take together, some 200,000 of them; the oldest go first.
_IDEMPOTENCY_MAX_BYTES = 67_108_864
#: How long a key is remembered. It is written once, so it does not come back after its end (nats-facts, trap 0).
_IDEMPOTENCY_MAX_AGE_SEC = 604_800
#: How long it is known that a job was delivered too often, while no gateway is there to end its run.
_ADVISORIES_MAX_AGE_SEC = 7 * 86_400
_ADVISORIES_MAX_BYTES = 67_108_864


def ensure_resources(
    bus: Bus, config: Config, *, only: Collection[str] | None = None, budget_sec: float | None = None
) -> list[str]:
    """Create the streams and buckets that every gateway and worker needs.

    :param only: the streams that are looked after; ``None`` = all.
    :param budget_sec: seconds for retries with each of them; the connection's own when ``None``.
    :return: the streams that were missing and are there now.
    :raises BusError: the server refuses to create one, as without JetStream or over its limits.
    :raises BusUnavailable: no answer, or this user may not create what is missing.
    """
    replicas = replicas_wanted(bus, config)
    found = [settings for settings in stream_settings(config) if only is None or settings["name"] in only]
    return [settings["name"] for settings in found if _ensure_stream(bus, settings, replicas, budget_sec)]


def stream_names(config: Config) -> list[str]:
    """Name the streams that :func:`ensure_resources` creates."""
    return [settings["name"] for settings in stream_settings(config)]


def ensure_bucket(bus: Bus, config: Config, bucket: str) -> None:
    """Create a KV bucket that not every installation needs.

    :raises BusError: as for :func:`ensure_resources`.
    :raises BusUnavailable: no answer.
    """
    _ensure_stream(bus, bucket_settings(bucket), replicas_wanted(bus, config))


def ensure_consumer(bus: Bus, config: Config, tag: str) -> None:
    """Create the pull consumer that all workers of a tag share."""
    durable = names.durable(tag)
    subject = names.work_subject(config.work_subject_prefix, tag)
    try:
        bus.api(f"CONSUMER.INFO.{names.WORK_STREAM}.{durable}")
        return
    except ResourceMissing:
        pass
    settings = {
        "durable_name": durable,
        "filter_subject": subject,
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_wait": int(config.consumer_ack_wait_sec * _NANOSECONDS),
        "max_deliver": config.consumer_max_deliver,
        "max_ack_pending": config.consumer_max_ack_pending,
    }
    body = {"stream_name": names.WORK_STREAM, "config": settings, "action": "create"}
    try:
        bus.api(f"CONSUMER.CREATE.{names.WORK_STREAM}.{durable}.{subject}", body)
    except BusError as exc:
        # Another worker of this tag started at the same moment.
        if exc.err_code != CONSUMER_EXISTS:
            raise


def stream_settings(config: Config) -> list[dict[str, Any]]:
    """Give the settings with which :func:`ensure_resources` creates each stream, in the server's words and units."""
    work = {
        "name": names.WORK_STREAM,
        "subjects": [f"{config.work_subject_prefix}.>"],
        "retention": "workqueue",
        "storage": "file",
        "discard": "old",
        "allow_direct": True,
        "duplicate_window": int(names.DUPLICATE_WINDOW_SEC * _NANOSECONDS),
    }
    dead_letters = {
        "name": config.dlq_stream,
        "subjects": [f"{config.dlq_subject_prefix}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": int(config.dlq_max_age_sec * _NANOSECONDS),
        "max_msgs": config.dlq_max_msgs,
        "max_bytes": config.dlq_max_bytes,
        "duplicate_window": _duplicate_window(_LETTER_DUPLICATE_WINDOW_SEC, config.dlq_max_age_sec),
    }
    advisories = {
        "name": names.ADVISORIES_STREAM,
        "subjects": [names.EXHAUSTED_SUBJECT],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": _ADVISORIES_MAX_AGE_SEC * _NANOSECONDS,
        "max_bytes": _ADVISORIES_MAX_BYTES,
    }
    logs = {
        "name": names.LOGS_STREAM,
        "subjects": [f"{names.LOGS_PREFIX}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": int(config.logs_max_age_sec * _NANOSECONDS),
        "max_bytes": config.logs_max_bytes,
        "max_msgs_per_subject": _LOGS_MAX_MESSAGES_PER_RUN,
        # Else each message of a log is a request of its own.
        "allow_direct": True,
        "duplicate_window": _duplicate_window(_LOGS_DUPLICATE_WINDOW_SEC, config.logs_max_age_sec),
    }
    workflows = {**bucket_settings(names.WORKFLOWS_BUCKET), "max_bytes": _WORKFLOWS_MAX_BYTES, "discard": "old"}
    idempotency = {
        **bucket_settings(names.IDEMPOTENCY_BUCKET),
        "max_bytes": _IDEMPOTENCY_MAX_BYTES,
        "max_age": _IDEMPOTENCY_MAX_AGE_SEC * _NANOSECONDS,
        "discard": "old",
    }
    buckets = [config.runs_kv_bucket, config.workers_kv_bucket]
    if config.asks_for_keys:
        buckets.append(config.auth_kv_bucket)
    history = {
        **bucket_settings(config.wheel_history_kv_bucket),
        "max_age": int(config.wheel_history_ttl_sec * _NANOSECONDS),
    }
    wheels = _object_store(config.wheel_object_store_bucket)
    artifacts = {
        **_object_store(names.ARTIFACTS_BUCKET),
        "max_age": int(config.artifacts_max_age_sec * _NANOSECONDS),
        "duplicate_window": _duplicate_window(_BUCKET_DUPLICATE_WINDOW_SEC, config.artifacts_max_age_sec),
        "max_bytes": config.artifacts_max_bytes,
        "discard": "old",
    }
    return [
        work,
        dead_letters,
        advisories,
        logs,
        *map(bucket_settings, buckets),
        workflows,
        idempotency,
        wheels,
        history,
        artifacts,
    ]


def _duplicate_window(seconds: float, max_age_sec: float) -> int:
    # No longer than the messages themselves are kept, or the server refuses it.
    return int(min(seconds, max_age_sec) * _NANOSECONDS)


def bucket_settings(bucket: str) -> dict[str, Any]:
    """Settings of the stream behind a KV bucket, as any KV client of NATS expects them (ADR-8)."""
    return {
        "name": names.bucket_stream(bucket),
        "subjects": [f"$KV.{bucket}.>"],
        "max_msgs_per_subject": 1,
        "storage": "file",
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "duplicate_window": _BUCKET_DUPLICATE_WINDOW_SEC * _NANOSECONDS,
    }


def _object_store(bucket: str) -> dict[str, Any]:
    """Settings of the stream behind an object store, as any client of NATS expects them (ADR-20)."""
    return {
        "name": names.object_stream(bucket),
        "subjects": [names.chunk_subject(bucket, ">"), names.object_subjects(bucket)],
        "storage": "file",
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "duplicate_window": _BUCKET_DUPLICATE_WINDOW_SEC * _NANOSECONDS,
    }


def replicas_wanted(bus: Bus, config: Config) -> int:
    """Say how many copies of something new there are to be."""
    return config.nats_replicas or (3 if bus.is_clustered else 1)


def _ensure_stream(bus: Bus, settings: dict[str, Any], replicas: int, budget_sec: float | None = None) -> bool:
    """Create a stream unless it is there; say whether it was missing."""
    name = settings["name"]
    with contextlib.suppress(ResourceMissing):
        bus.api(f"STREAM.INFO.{name}", budget_sec=budget_sec)
        return False
    try:
        bus.api(f"STREAM.CREATE.{name}", {**settings, "num_replicas": replicas}, budget_sec=budget_sec)
    except BusError as exc:
        if exc.err_code == STREAM_NAME_IN_USE:
            # Another process created it at the same moment.
            return True
        if lacks_servers(exc) and replicas > 1:
            return _ensure_stream(bus, settings, 1, budget_sec)
        raise
    except BusDenied as exc:
        raise BusDenied(f"{name} is missing, and this user may not create it. Start a gateway, which does.") from exc
    return True
