"""What the tests themselves leave behind: nothing, though they end their commands by force."""

from __future__ import annotations

from pathlib import Path

from tests.support.commands import Daemons
from tests.support.nats import NatsServer


def test_nothing_is_left_of_a_worker_that_was_killed_with_its_test(nats: NatsServer, tmp_path: Path) -> None:
    """Its sentinel would look for NATS for two minutes, with a process for each test."""
    daemons = Daemons(tmp_path)
    worker = daemons.start("pyoco-worker", "--nats-url", nats.url)
    worker.wait_for_log("the worker serves")
    assert daemons.family.members("sentinel")
    nats.stop()
    daemons.close()
    daemons.family.wait_until_gone(timeout_sec=60)
