"""What runs print, as workers store it."""

from __future__ import annotations

import time
from typing import Any

from pyoco_server.states import RunStatus
from pyoco_server.stores.logs import LogStore
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts
from tests.support.sse import Piece

#: 2026-11-22T00:25:01Z
AT = 1_795_307_101.0


def entry(seq: int, text: str = "", task: str | None = "a", stream: str = "stdout") -> dict[str, Any]:
    """Make an entry as a worker of ours does: of one line."""
    return {"seq": seq, "task": task, "stream": stream, "text": text or f"line {seq}", "timestamp": AT + seq / 8}


def append(parts: Parts, run_id: str, *entries: dict[str, Any], attempt: int = 1) -> float:
    """Store entries of a run; gives when that was confirmed, ``time.monotonic()``."""
    LogStore(parts.bus).append(run_id, attempt, entries)
    return time.monotonic()


def running(local: LocalGateway, parts: Parts) -> str:
    """Have a run that is RUNNING, and give its id."""
    run_id = local.submit()
    parts.change(run_id, status=RunStatus.RUNNING)
    return run_id


def ended(local: LocalGateway, parts: Parts, *entries: dict[str, Any]) -> str:
    """Have a run that has printed this and is COMPLETED, and give its id."""
    run_id = running(local, parts)
    append(parts, run_id, *entries)
    parts.end(run_id)
    return run_id


def texts(pieces: list[Piece]) -> list[str]:
    """Give the texts of the entries among the events of a stream."""
    return [piece.data["text"] for piece in pieces if piece.name == "log"]
