"""A runner process without a worker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyoco_server.config import Config
from pyoco_server.service import Deadline
from pyoco_server.worker.child import Child
from pyoco_server.worker.runners import Runners
from tests.support.waiting import PATIENCE_SEC


@contextlib.contextmanager
def booted_runner() -> Iterator[Child]:
    """Boot a runner, forked as a worker has it, and end it."""
    with contextlib.closing(Runners(None, Config.from_env({}))) as runners:
        child = runners.start()
        try:
            child.wait_ready(Deadline(PATIENCE_SEC))
            yield child
        finally:
            child.kill()
