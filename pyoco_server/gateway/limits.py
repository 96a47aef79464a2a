"""How large a body each route reads; more is refused by its Content-Length, before any of it is read.

Source: contract, section 3; design, section 8.
"""

from __future__ import annotations

from pyoco_server.config import Config
from pyoco_server.gateway.paths import WHEELS_PAGE

#: Where wheels are uploaded.
WHEEL_PATHS = ("/wheels", WHEELS_PAGE)
#: For every route that has no limit of its own.
MAX_BODY_BYTES = 2 * 1024 * 1024
#: What a form or a JSON body takes around the workflow in it.
_AROUND_WORKFLOW_BYTES = 64 * 1024
#: What the form takes around a wheel: its tags, and the heads of its parts.
_AROUND_WHEEL_BYTES = 64 * 1024
#: What the fields beside a wheel may take. The parser counts all that it has read and not passed on: pieces of 64 KiB.
_MAX_WHEEL_FIELDS_BYTES = 256 * 1024
#: A batch: 8 KiB for each of its thousand runs.
_MAX_BATCH_BYTES = 8 * 1024 * 1024
#: pyoco's worker sends all records of its run again with each heartbeat; one that is refused loses the run's end.
MAX_HEARTBEAT_BYTES = 8 * 1024 * 1024
#: A character of a text takes up to so many bytes in JSON (``\\u001f``).
_JSON_BYTES_PER_BYTE = 6


def max_body_bytes(config: Config, path: str) -> int:
    """Give the largest body that a path takes."""
    workflow_bytes = config.workflow_yaml_max_bytes
    if path == "/runs/batch":
        return _MAX_BATCH_BYTES + workflow_bytes * _JSON_BYTES_PER_BYTE
    if path in WHEEL_PATHS:
        return config.wheel_max_bytes + _AROUND_WHEEL_BYTES
    if path.startswith("/runs/") and path.endswith("/heartbeat"):
        return MAX_HEARTBEAT_BYTES
    return max(MAX_BODY_BYTES, workflow_bytes + _AROUND_WORKFLOW_BYTES)


def max_form_memory_bytes(config: Config, path: str) -> int:
    """Give how much the fields of a form beside its files may take; they are kept in memory."""
    return _MAX_WHEEL_FIELDS_BYTES if path in WHEEL_PATHS else max_body_bytes(config, path)


def max_bytes_in_work(config: Config) -> int:
    """Give how large the bodies that are in work at the same time may be together: as large as the largest."""
    return max_body_bytes(config, "/runs/batch")
