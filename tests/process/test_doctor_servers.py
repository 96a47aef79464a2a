"""``pyoco-nats doctor`` and ``status`` where something is wrong with the server itself, or none is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoco_server.ports import answers
from tests.support.clinic import Clinic
from tests.support.commands import Daemon, reason, run
from tests.support.nats import free_port
from tests.support.nats_cluster import NatsNode
from tests.support.waiting import eventually


def test_a_server_that_writes_to_disk_now_and_then_is_told(tmp_path: Path) -> None:
    node = NatsNode(tmp_path / "nats", sync="90s")
    node.start()
    clinic = Clinic(node.url, tmp_path)
    try:
        found = clinic.doctor("--monitor", f"{node.monitor},http://127.0.0.1:1")
        assert found.found == {("sync-interval", node.monitor), ("monitor-silent", "http://127.0.0.1:1")}
        assert "every 90 s" in found.findings[1]["text"]
    finally:
        clinic.close()
        node.stop()


def test_a_nats_without_jetstream_is_a_fault(start: Callable[..., Daemon], tmp_path: Path) -> None:
    port = free_port()
    start("nats-server", "-a", "127.0.0.1", "-p", str(port))
    eventually(lambda: answers("127.0.0.1", port), what="nats-server answering")
    clinic = Clinic(f"nats://127.0.0.1:{port}", tmp_path, is_empty=True)
    found = clinic.doctor()
    assert (found.status, {id for id, _ in found.found}) == (4, {"no-jetstream"})
    status, printed = clinic.ask("status", "--json")
    assert (status, list(json.loads(printed))) == (4, ["findings"])
    clinic.close()


@pytest.mark.long
def test_without_nats_one_sentence_says_so(tmp_path: Path) -> None:
    done = run("pyoco-nats", "doctor", "--nats-url", f"nats://127.0.0.1:{free_port()}", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason(done.stderr).startswith("ERR-PYOCO-0003 ")
