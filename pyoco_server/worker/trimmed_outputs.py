"""Outputs that the last snapshot of a run has no room for.

Source: design, "Artifacts".
"""

from __future__ import annotations

import json
from typing import Any

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import SnapshotTooLarge

#: A smaller output is not worth a file.
_LARGE_BYTES = 256
#: What may still come to a snapshot before it is written: who has cancelled the run, digits of a time.
_CHANGE_BYTES = 256


def trimmed_outputs(last: Snapshot, max_bytes: int) -> dict[str, Any]:
    """Give those of 256 bytes and more that will not be in it as they are, by task.

    :param last: the run with its end, as it is about to be written.
    :param max_bytes: the cap of a snapshot.
    """
    outputs = {task: record.get("output") for task, record in last.task_records.items()}
    large = {task: output for task, output in outputs.items() if _is_large(output)}
    # Most runs have none, and need not be encoded once more.
    if not large or last.fits(max_bytes - _CHANGE_BYTES):
        return {}
    try:
        written = Snapshot.from_bytes(last.to_bytes(max_bytes, reserved_bytes=_CHANGE_BYTES)).task_records
    except SnapshotTooLarge:
        # It is written without any record.
        return large
    return {task: output for task, output in large.items() if written.get(task, {}).get("output") != output}


def _is_large(output: Any) -> bool:
    # Numbers are never trimmed.
    return isinstance(output, (str, list, dict)) and len(json.dumps(output)) >= _LARGE_BYTES
