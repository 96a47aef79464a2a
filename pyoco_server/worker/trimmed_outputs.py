"""Outputs that the last snapshot of a run has no room for.

Source: design, "Artifacts".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyoco_server.contract.runs import Snapshot
from pyoco_server.errors import SnapshotTooLarge

#: A smaller output is not worth a file.
_LARGE_BYTES = 256
#: What may still come to a snapshot before it is written: who has cancelled the run, digits of a time.
_CHANGE_BYTES = 256


def large_outputs(records: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Give the outputs of 256 bytes and more, by task; most runs have none."""
    outputs = {task: record.get("output") for task, record in records.items()}
    return {task: output for task, output in outputs.items() if _is_large(output)}


def trimmed_outputs(large: dict[str, Any], last: Snapshot, max_bytes: int) -> dict[str, Any]:
    """Give those of the large outputs that will not be in the last snapshot as they are.

    :param last: the run with its end, as it is about to be written.
    :param max_bytes: the cap of a snapshot.
    """
    if last.fits(max_bytes - _CHANGE_BYTES):
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
