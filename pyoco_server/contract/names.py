"""Names on NATS: streams, subjects, buckets, keys, durable consumers, and the grammar of what users choose.

Source: contract, sections 1 and 2.
"""

from __future__ import annotations

import base64
import re

WORK_STREAM = "PYOCO_WORK"
#: flow.yaml texts by their sha256; ours, bounded, rebuilt by any submission of the same text.
WORKFLOWS_BUCKET = "pyoco_workflows"
#: Idempotency keys and the runs they stand for; ours, bounded by size and age.
IDEMPOTENCY_BUCKET = "pyoco_idempotency"
#: Ours: what the queue tells of jobs that were delivered too often.
ADVISORIES_STREAM = "PYOCO_ADVISORIES"
EXHAUSTED_SUBJECT = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{WORK_STREAM}.*"

#: What runs print; ours, bounded by age, size and messages a run.
LOGS_STREAM = "PYOCO_LOGS"
#: Root of the subjects of :data:`LOGS_STREAM`, one for each run.
LOGS_PREFIX = "pyoco.logs"

#: Object store of the files that tasks save; ours, bounded by age and size.
ARTIFACTS_BUCKET = "pyoco_artifacts"

#: Root of the subjects on which idle workers are told of jobs; outside of what the work stream captures.
_HINT_ROOT = "pyoco_hint"
#: Queue group of the workers that wait for a hint: each hint goes to one of them.
IDLE_GROUP = "pyoco_idle"

#: The kinds of programs that speak to NATS; each may be given permissions of its own.
GATEWAY_ROLE, WORKER_ROLE, ADMIN_ROLE = ROLES = ("gateway", "worker", "admin")

#: Seconds in which the work stream recognises a message id (contract 2: new streams get five minutes).
DUPLICATE_WINDOW_SEC = 300.0

MAX_TAG_CHARS = 128
MAX_NAME_CHARS = 256

#: A tag is one token of a NATS subject.
TAG_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: What a KV key may consist of; wildcards and blanks would address other keys.
_KEY_PATTERN = re.compile(r"[A-Za-z0-9_=/-]+(\.[A-Za-z0-9_=/-]+)*")

#: Tokens of which none is empty, and none has a blank: that would begin another word of the protocol.
_SUBJECT_PATTERN = re.compile(r"[^\s.]+(\.[^\s.]+)*")


def is_subject(text: str) -> bool:
    """Say whether ``text`` can be a subject of NATS; wildcards may stand in it."""
    return _SUBJECT_PATTERN.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Say whether ``text`` can be a routing tag."""
    return TAG_PATTERN.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Say whether ``text`` can be a run id or a worker id: a KV key of at most 256 characters."""
    return len(text) <= MAX_NAME_CHARS and _KEY_PATTERN.fullmatch(text) is not None


def inbox(role: str) -> str:
    """Give the root of the subjects on which a role takes answers: within that of all clients, apart from others."""
    return f"_INBOX.pyoco_{role}"


def work_subject(prefix: str, tag: str) -> str:
    return f"{prefix}.{tag}"


def job_id(run_id: str, attempt: int) -> str:
    """Give the message id of a run's job (contract 2).

    :param attempt: attempts that the run has had when the job is published.
    """
    return run_id if attempt == 0 else f"{run_id}.{attempt + 1}"


def dead_letter_subject(prefix: str, tag: str) -> str:
    return f"{prefix}.{tag}"


def hint_subject(work_subject: str) -> str:
    """Give the subject that tells of a job which waits under ``work_subject`` already."""
    return f"{_HINT_ROOT}.{work_subject}"


#: How the consumers are described by which a gateway follows buckets; behind it stands which one it is.
GATEWAY = "pyoco-gateway"


def durable(tag: str) -> str:
    """Give the name of the pull consumer that all workers of a tag share."""
    return f"pyoco_workers_{tag}"


def tag_of(durable_name: str) -> str:
    """Give the tag whose workers share a pull consumer."""
    return durable_name.removeprefix(durable(""))


def logs_subject(run_id: str) -> str:
    return f"{LOGS_PREFIX}.{run_id}"


def bucket_stream(bucket: str) -> str:
    """Give the stream behind a KV bucket."""
    return f"KV_{bucket}"


def key_subject(bucket: str, key: str) -> str:
    """Give the subject of a key in a KV bucket."""
    return f"$KV.{bucket}.{key}"


#: Root of the subjects of all object stores (ADR-20).
OBJECT_ROOT = "$O"


def object_stream(bucket: str) -> str:
    """Give the stream behind an object store."""
    return f"OBJ_{bucket}"


def object_subject(bucket: str, name: str) -> str:
    """Give the subject under which an object store describes an object."""
    return f"{OBJECT_ROOT}.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def object_subjects(bucket: str) -> str:
    """Give the pattern of the descriptions of all objects."""
    return f"{OBJECT_ROOT}.{bucket}.M.>"


def chunk_subject(bucket: str, nuid: str) -> str:
    """Give the subject under which the content of an object lies, in pieces; ``>`` for those of all."""
    return f"{OBJECT_ROOT}.{bucket}.C.{nuid}"
