"""A large installation, as full as its lists get: for the size of pages and for how long they take."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.support.parts import Parts, stored_run

#: The run with the large flow.
WIDE_RUN = "a-run-of-a-hundred-tasks"
WORKER_COUNT = 300
LETTER_COUNT = 500
_TAG_COUNT = 120
_STATES = (("COMPLETED", 90), ("FAILED", 6), ("CANCELLED", 1), ("PENDING", 2), ("RUNNING", 1))
#: From the newest run to the oldest.
SPAN_SEC = 172_800.0


def runs(count: int, *, first: int = 0) -> Iterator[dict[str, Any]]:
    """Make runs of the last two days; always the same ones."""
    chance = random.Random(first)
    now = time.time()
    states, weights = zip(*_STATES, strict=True)
    for number in range(first, first + count):
        status = chance.choices(states, weights)[0]
        end = now - chance.random() * SPAN_SEC
        error = f"ConnectionError: host-{number % 9}.example.com read timed out after {number} s" + " and more" * 30
        yield stored_run(
            f"{chance.getrandbits(64):016x}-{number:019d}",
            flow_name=f"a_nightly_flow_of_some_length_{number % 40}",
            tag=f"a-tag-of-a-team-{number % _TAG_COUNT}",
            status=status,
            worker_id=f"worker-{number % WORKER_COUNT}.example.com",
            start_time=end - 60,
            end_time=end,
            updated_at=end,
            submitted_at=end - 70,
            error=error if status == "FAILED" else None,
        )


def workers() -> Iterator[dict[str, Any]]:
    """Make records of workers, each with as many wheels as a record holds; one of ten is lost."""
    now = time.time()
    wheels = [
        {
            "wheel_name": f"acme_package_{number}-1.{number}-py3-none-any.whl",
            "package_name": f"acme-package-{number}",
            "package_version": f"1.{number}",
            "installed_at": now,
        }
        for number in range(50)
    ]
    sync = {"enabled": True, "last_result": "error", "last_error": "E" * 3_000, "installed_wheels": wheels}
    for number in range(WORKER_COUNT):
        yield {
            "worker_id": f"worker-{number}.example.com",
            "instance_id": "i",
            "state": "RUNNING",
            "tags": [f"a-tag-of-a-team-{(number + step) % _TAG_COUNT}" for step in range(4)],
            "last_seen_at": now - 900 if number % 10 == 0 else now + 100_000,
            "updated_at": now,
            "host": f"worker-{number}.example.com",
            "version": "0.6.0",
            "concurrency": 4,
            "current_run_ids": [f"{number:08x}-{step:027d}" for step in range(4)],
            "wheel_sync": {**sync, "skipped_incompatible": [{**wheel, "reason": "is for cp312"} for wheel in wheels]},
        }


def wide_run(parts: Parts, run_id: str = WIDE_RUN, *, row_count: int = 10) -> None:
    """Store a run of rows of ten tasks, each with inputs and an output, and a long error at the last."""
    names = [f"task_number_{number:03d}" for number in range(10 * row_count)]
    graph = "\n".join(f"    {before} >> {after}" for before, after in zip(names, names[10:], strict=False))
    tasks = "\n".join(f'  {name}: {{callable: "m:f"}}' for name in names)
    workflow = parse_workflow(f"version: 1\nflow:\n  graph: |\n{graph}\ntasks:\n{tasks}\n")
    now = time.time()
    value = {"rows": 12_345, "file": "orders.parquet", "columns": [f"column_{number}" for number in range(30)]}
    record = {"state": "SUCCEEDED", "started_at": now - 90, "ended_at": now - 10, "inputs": value, "output": value}
    records: dict[str, Any] = {name: {**record, "started_at": now - 90 + place} for place, name in enumerate(names)}
    traceback = "Traceback (most recent call last):\n" + '  File "acme/etl.py", line 88, in convert\n' * 400
    records[names[-1]] = {**record, "state": "FAILED", "error": "E" * 5_000, "traceback": traceback, "output": None}
    parts.workflows.keep(workflow.sha256, workflow.text)
    run = stored_run(
        run_id,
        status="FAILED",
        tasks={name: known["state"] for name, known in records.items()},
        task_records=records,
        params={f"parameter_{number}": value for number in range(12)},
        error="E" * 5_000,
        start_time=now - 100,
        end_time=now,
        workflow_yaml_sha256=workflow.sha256,
    )
    parts.put(run_id, run)


def letters(parts: Parts) -> None:
    """Publish dead letters with long errors, and of jobs that could not be read."""
    for number in range(LETTER_COUNT):
        name = f"a_nightly_flow_of_some_length_{number % 40}"
        reason, payload = ("invalid_job", "p" * 4_096) if number % 2 else ("execution_error", None)
        letter = DeadLetter(reason, "E" * 3_000, time.time(), f"{number:036d}", name, "a-tag", payload=payload)
        parts.dead_letters.publish(letter, key=str(number))
