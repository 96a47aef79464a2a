"""What a job's headers tell of the snapshot of its run, so that the first claim need not read it.

The snapshot was stored a moment before the job. The headers have its revision, and what does not stand in the job. The
compare-and-set of the claim proves that this is still how the run stands; without these headers, or where anybody
has written the run since, it is read.

Source: design, "Claim, lease, fence"; spec, "NATS".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields

from pyoco_server.contract.jobs import Job
from pyoco_server.contract.runs import Snapshot

SNAPSHOT_HEADER = "Pyoco-Snapshot"
REVISION_HEADER = "Pyoco-Revision"
#: A snapshot with more beside its job, such as results of an earlier run, is read.
_MAX_CHARS = 4_096
_IN_BOTH = frozenset(item.name for item in fields(Job)) & frozenset(item.name for item in fields(Snapshot))


def told_with(job: Job, snapshot: Snapshot) -> dict[str, str]:
    """Give the headers that tell of a snapshot, but for its revision; none where it is too large."""
    # What is null reads like what is not there. An empty list does not: of `wheels` it says that there were none.
    beside = {
        name: value for name, value in snapshot.to_document().items() if value is not None and name not in _IN_BOTH
    }
    text = json.dumps(beside)
    return {SNAPSHOT_HEADER: text} if len(text) <= _MAX_CHARS else {}


def told_snapshot(job: Job, headers: Mapping[str, str]) -> tuple[Snapshot, int] | None:
    """Give the snapshot that the headers of a job tell of, and its revision; ``None`` where they do not."""
    try:
        beside, revision = json.loads(headers[SNAPSHOT_HEADER]), int(headers[REVISION_HEADER])
        return Snapshot.from_document({**beside, **{name: getattr(job, name) for name in _IN_BOTH}}), revision
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
