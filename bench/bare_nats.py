"""The raw limit of a submission: a snapshot created and a job published, with nats-py alone."""

from __future__ import annotations

import asyncio
import time
import uuid

import nats

_IN_FLIGHT = 64
_SNAPSHOT, _JOB = b"x" * 700, b"x" * 300


def submissions_per_sec(url: str, count: int) -> float:
    """Write so many runs, 64 on their way at a time, each confirmed; gives how many a second."""
    return asyncio.run(_submit(url, count))


async def _submit(url: str, count: int) -> float:
    client = await nats.connect(url)
    stream = client.jetstream()
    bucket = await stream.key_value("pyoco_runs")
    numbers = iter(range(count))

    async def write_some() -> None:
        for _ in numbers:
            run_id = str(uuid.uuid4())
            await bucket.create(run_id, _SNAPSHOT)
            await stream.publish("pyoco.work.raw", _JOB, headers={"Nats-Msg-Id": run_id})

    began_at = time.perf_counter()
    await asyncio.gather(*(write_some() for _ in range(_IN_FLIGHT)))
    elapsed_sec = time.perf_counter() - began_at
    await client.close()
    return count / elapsed_sec
