"""What a worker is told when it starts.

Source: contract, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker is told on its command line, or by the program that it is a part of.

    :param tags: routing tags that it serves; any of them.
    :param resolver: ``module:function`` or ``file.py:function``; ``None`` = runs by flow name fail.
    :param poll_timeout_sec: how long it waits for a job at a time.
    :param once: whether it takes no job of its own accord: each run is asked for (:meth:`Worker.take_one`).
    :param is_embedded: whether stdout and stderr of this process are somebody else's.
    """

    worker_id: str
    tags: list[str]
    resolver: str | None = None
    concurrency: int = 1
    poll_timeout_sec: float = 1.0
    max_runs_per_child: int = 100
    once: bool = False
    is_embedded: bool = False
