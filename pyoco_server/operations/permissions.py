"""What each role must be permitted on NATS, and no more, made of the names that the settings give to streams and so on.

A request to JetStream is a message like any other, so the permission to ask is the permission to publish under the
subject of that request. What the server answers comes to the inbox of the role.

Source: nats-server, ``permissions`` of a user; JetStream API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pyoco_server.bridge.resources import stream_settings
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.contract.names import ADMIN_ROLE as ADMIN
from pyoco_server.contract.names import GATEWAY_ROLE as GATEWAY
from pyoco_server.contract.names import WORKER_ROLE as WORKER

#: What follows ``$JS.API.`` in the requests that belong to a use of a stream; the stream stands for ``{}``.
_REQUESTS: Mapping[str, tuple[str, ...]] = {
    "look": ("STREAM.INFO.{}",),
    "make": ("STREAM.CREATE.{}",),
    "read": ("STREAM.MSG.GET.{}",),
    "read on": ("DIRECT.GET.{}",),
    "follow": ("CONSUMER.CREATE.{}", "CONSUMER.INFO.{}.*", "CONSUMER.MSG.NEXT.{}.*", "CONSUMER.DELETE.{}.*"),
    "remove": ("STREAM.MSG.DELETE.{}",),
    "purge": ("STREAM.PURGE.{}",),
    "count": ("CONSUMER.LIST.{}",),
    "forget": ("CONSUMER.DELETE.{}.*",),
    # These are no requests to JetStream.
    "write": (),
    "hear": (),
}
#: What an operator does with any stream, be it ours or not: to survey, to mend, to save and to restore it.
_ADMIN_REQUESTS = (
    "INFO",
    "STREAM.LIST",
    "STREAM.INFO.*",
    "STREAM.CREATE.*",
    "STREAM.UPDATE.*",
    "STREAM.DELETE.*",
    "STREAM.SNAPSHOT.*",
    "STREAM.RESTORE.*",
    "STREAM.MSG.GET.*",
    "CONSUMER.LIST.*",
    "CONSUMER.INFO.*.*",
    "CONSUMER.CREATE.*.*.>",
)
#: Acknowledgements of the pieces of an archive, and where the pieces of one to be restored go.
_ADMIN_SUBJECTS = ("$JS.SNAPSHOT.ACK.>", "$JS.SNAPSHOT.RESTORE.>")
#: What the overview page asks for.
_GATEWAY_REQUESTS = ("INFO", "STREAM.LIST")

#: Any tag: as a pattern of subjects.
ANY = "*"


@dataclass(frozen=True)
class Permissions:
    """The subjects that a user may publish and subscribe to; all others are refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def permissions(config: Config, role: str, tags: Sequence[str] = (ANY,)) -> Permissions:
    """Give what a role needs.

    :param tags: those whose jobs its workers may take; no other role is limited to some.
    """
    tags = tags if role == WORKER else (ANY,)
    publish, subscribe = [], [f"{names.inbox(role)}.>"]
    uses = stream_uses(config)
    # Also where keys are not asked for yet.
    for settings in stream_settings(replace(config, http_auth_mode="api_key")):
        stream, subjects = settings["name"], settings["subjects"]
        if stream == names.WORK_STREAM:
            subjects = [names.work_subject(config.work_subject_prefix, tag) for tag in tags]
        for use in uses[stream].get(role, ()):
            publish += [_api(request.format(stream)) for request in _REQUESTS[use]]
            publish += subjects if use == "write" else []
            subscribe += subjects if use == "hear" else []
    if role == ADMIN:
        publish += [*map(_api, _ADMIN_REQUESTS), *_ADMIN_SUBJECTS]
    else:
        publish += [*_queue_subjects(config, tags)]
        publish += map(_api, _GATEWAY_REQUESTS) if role == GATEWAY else []
    if role == WORKER:
        subscribe += [names.hint_subject(names.work_subject(config.work_subject_prefix, tag)) for tag in tags]
    return Permissions(tuple(publish), tuple(subscribe))


def stream_uses(config: Config) -> dict[str, dict[str, Sequence[str]]]:
    """Give what each role does with each stream of ours, as words of the requests that this takes.

    An administrator may survey, mend, save and restore every stream; here stands what is more than that.
    """
    runs, workers = names.bucket_stream(config.runs_kv_bucket), names.bucket_stream(config.workers_kv_bucket)
    wheels, artifacts = (
        names.object_stream(config.wheel_object_store_bucket),
        names.object_stream(names.ARTIFACTS_BUCKET),
    )
    keep = ("look", "make", "read", "write")
    return {
        names.WORK_STREAM: {
            GATEWAY: (*keep, "count", "remove"),
            # It writes a job that it hands back unused after its last delivery.
            WORKER: ("look", "write", "hear"),
            # The consumers of tags that nobody uses any more.
            ADMIN: ("forget",),
        },
        config.dlq_stream: {GATEWAY: (*keep, "remove"), WORKER: ("look", "write")},
        names.ADVISORIES_STREAM: {GATEWAY: ("look", "make", "read", "remove")},
        names.LOGS_STREAM: {GATEWAY: (*keep, "read on", "hear"), WORKER: ("look", "write")},
        runs: {GATEWAY: (*keep, "follow", "purge"), WORKER: ("look", "read", "write", "hear")},
        workers: {GATEWAY: (*keep, "follow", "purge"), WORKER: ("look", "read", "write", "hear")},
        # Keys are made and revoked by an administrator alone.
        names.bucket_stream(config.auth_kv_bucket): {GATEWAY: ("look", "make", "read", "follow"), ADMIN: ("write",)},
        names.bucket_stream(names.WORKFLOWS_BUCKET): {GATEWAY: keep},
        names.bucket_stream(names.IDEMPOTENCY_BUCKET): {GATEWAY: keep},
        wheels: {GATEWAY: (*keep, "purge"), WORKER: ("look", "read")},
        names.bucket_stream(config.wheel_history_kv_bucket): {GATEWAY: keep},
        artifacts: {GATEWAY: ("look", "make", "read"), WORKER: ("look", "read", "write", "purge")},
    }


def streams_of(config: Config, role: str) -> list[str]:
    """Name the streams that a role uses."""
    return [stream for stream, uses in stream_uses(config).items() if role in uses]


def _queue_subjects(config: Config, tags: Sequence[str]) -> Iterator[str]:
    """Give what fetching jobs takes beside the stream: its consumers, acknowledgements, word for idle workers."""
    yield f"$JS.ACK.{names.WORK_STREAM}.>"
    for tag in tags:
        subject = names.work_subject(config.work_subject_prefix, tag)
        # A part of a word is no pattern.
        consumer = f"{names.WORK_STREAM}.{ANY if tag == ANY else names.durable(tag)}"
        yield _api(f"CONSUMER.CREATE.{consumer}.{subject}")
        yield _api(f"CONSUMER.INFO.{consumer}")
        yield _api(f"CONSUMER.MSG.NEXT.{consumer}")
        yield names.hint_subject(subject)


def _api(request: str) -> str:
    return f"$JS.API.{request}"
