"""The worker's end of the line to a runner: waiting for it, and being woken."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from pyoco_server.library.local_runner import LocalRunner
from pyoco_server.runner.allowed import Allowed
from pyoco_server.worker.runner_link import RunnerLink
from tests.support.runners import booted_runner
from tests.support.waiting import PATIENCE_SEC

#: Longer than the test has patience for.
_FOR_EVER_SEC = 10 * PATIENCE_SEC


@contextlib.contextmanager
def thread() -> Iterator[RunnerLink]:
    yield LocalRunner({}.__getitem__, Allowed())


@pytest.mark.parametrize("start", [booted_runner, thread], ids=["process", "thread"])
def test_who_waits_for_a_runner_that_says_nothing_can_be_woken(
    start: Callable[[], contextlib.AbstractContextManager[RunnerLink]],
) -> None:
    with start() as link:
        received: list[object] = []
        waiting = threading.Thread(target=lambda: received.append(link.receive(_FOR_EVER_SEC)), daemon=True)
        waiting.start()
        link.wake()
        waiting.join(PATIENCE_SEC)
        assert not waiting.is_alive()
        assert received == [[]]
        # A call wakes once.
        assert not link.receive(0)


def test_waking_a_runner_that_has_ended_is_no_error() -> None:
    with booted_runner() as child:
        child.kill()
        child.wake()
