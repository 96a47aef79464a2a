"""What must hold when the storm is over, whatever it has hit."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyoco_server.contract import names
from pyoco_server.states import TERMINAL
from tests.chaos.site import TAGS, Hit
from tests.support.parts import Parts
from tests.support.waiting import eventually

#: For leases to be over, runs to be taken over and ended, and waiting retries to be done.
_SETTLE_SEC = 120.0


@dataclass(frozen=True)
class Entry:
    """A task began.

    :param at: unix seconds.
    """

    name: str
    task: str
    at: float
    pid: int


def read_ledger(path: Path) -> list[Entry]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [Entry(name, task, float(at), int(pid)) for name, task, at, pid in map(str.split, lines)]


def settle(parts: Parts, accepted: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Wait for the end of all runs and for an empty queue, not for ever; give the runs by their names."""

    def is_settled() -> bool:
        return not parts.jobs() and all(parts.snapshot(run_id)["status"] in TERMINAL for run_id in accepted.values())

    with contextlib.suppress(AssertionError):
        eventually(is_settled, what="the end of every accepted run", timeout_sec=_SETTLE_SEC)
    return {name: parts.snapshot(run_id) for name, run_id in accepted.items()}


def faults(
    runs: dict[str, dict[str, Any]], ledger: list[Entry], hits: list[Hit], parts: Parts, accepted: dict[str, str]
) -> list[str]:
    """Name all that must not be."""
    found = []
    begun: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in ledger:
        begun[entry.name, entry.task].append(entry)
        run = runs.get(entry.name)
        if run is None:
            found.append(f"{entry.name} was never accepted, and {entry.task} began")
        elif run["end_time"] is not None and entry.at > run["end_time"]:
            late_sec = entry.at - run["end_time"]
            found.append(f"{entry.task} of {run['run_id']} ({run['status']}) began {late_sec:.3f} s after its end")
    for (name, task), entries in begun.items():
        if len(entries) > 1 and name in runs:
            found += _unexplained(runs[name], task, entries, hits)
    for name, run in runs.items():
        if run["status"] not in TERMINAL:
            found.append(f"{run['run_id']}, of tag {run['tag']}, is still {run['status']}")
        if run["status"] == "COMPLETED" and any(not begun[name, task] for task in ("first", "left", "right", "last")):
            found.append(f"{run['run_id']} is COMPLETED, and not all of its tasks began")
    found += _left_over(parts, accepted)
    return found


def _unexplained(run: dict[str, Any], task: str, entries: list[Entry], hits: list[Hit]) -> list[str]:
    """Say which repeated beginnings of a task neither a hit nor the run's own policy explains."""
    found = []
    if len(entries) > run["attempt"]:
        found.append(f"{task} of {run['run_id']} began {len(entries)} times in {run['attempt']} attempts")
    for before, after in itertools.pairwise(entries):
        was_hit = any(hit.at <= after.at and hit.back_at >= before.at - 10 for hit in hits)
        if not was_hit and not run.get("errors"):
            found.append(f"{task} of {run['run_id']} began again at {after.at:.3f}, and nothing was hit")
    return found


def _left_over(parts: Parts, accepted: dict[str, str]) -> list[str]:
    found = [f"run {key} is stored, and no client was told of it" for key in parts.keys() - set(accepted.values())]
    consumers = parts.bus.api(f"CONSUMER.NAMES.{names.WORK_STREAM}")["consumers"] or []
    found += [f"consumer {name} is left over" for name in set(consumers) - {names.durable(tag) for tag in TAGS}]
    for tag in TAGS:
        info = parts.bus.api(f"CONSUMER.INFO.{names.WORK_STREAM}.{names.durable(tag)}")
        if info["num_ack_pending"] or info["num_pending"]:
            found.append(f"{info['num_pending']} jobs of {tag} wait, and {info['num_ack_pending']} are in work")
    return found


def summary(runs: dict[str, dict[str, Any]], hits: list[Hit]) -> str:
    """Say what happened."""
    by_status = Counter(run["status"] for run in runs.values())
    by_target = Counter(hit.what.partition("-")[0].partition(" ")[0] for hit in hits)
    again = sum(run["attempt"] > 1 for run in runs.values())
    return f"{len(runs)} runs ({dict(by_status)}), {again} of them in more than one attempt; hits: {dict(by_target)}"
