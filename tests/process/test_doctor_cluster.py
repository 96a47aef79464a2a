"""``pyoco-nats doctor`` on three servers that are one NATS."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clinic import Clinic, Diagnosis
from tests.support.nats_cluster import NatsCluster
from tests.support.waiting import PATIENCE_SEC, eventually

pytestmark = pytest.mark.long

SINGLE = ["KV_pyoco_runs", "PYOCO_WORK"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    found = NatsCluster(tmp_path / "nats").start()
    yield found
    found.stop()


@pytest.fixture
def clinic(cluster: NatsCluster, tmp_path: Path) -> Iterator[Clinic]:
    """Three servers, of which one alone has the queue and the runs: these were made when there was no other."""
    found = Clinic(cluster.url, tmp_path)
    for stream in SINGLE:
        found.change(stream, num_replicas=1)
    yield found
    found.close()


def test_replicas_are_raised_and_a_server_that_is_away_is_told(cluster: NatsCluster, clinic: Clinic) -> None:
    # A server greets with addresses, of which another one may have several.
    monitor = ["--monitor", cluster.nodes[0].monitor]
    assert [_server(clinic, *flags)["node_count"] for flags in ([], monitor)] == [None, 3]
    clinic.queue("t")
    unserved = {("no-worker", "t")}
    single = {("replicas", stream) for stream in SINGLE}
    # At first the copies that were given up may still be going.
    found = eventually(
        lambda: _with(clinic, single | unserved), what="nothing but two single copies", timeout_sec=PATIENCE_SEC
    )
    assert found.status == 3
    mended = clinic.doctor("--fix")
    assert (mended.status, mended.fixed, mended.found) == (3, single, unserved)
    assert [clinic.settings(stream)["num_replicas"] for stream in SINGLE] == [3, 3]
    # What one server held is on all of them now.
    lost = cluster.leader("PYOCO_WORK")
    lost.stop(signal.SIGKILL)
    eventually(
        lambda: {("server-away", lost.name), ("server-silent", lost.url)} <= clinic.doctor().found,
        what="a server that is away",
        timeout_sec=PATIENCE_SEC,
    )
    assert clinic.bus.api("STREAM.INFO.PYOCO_WORK")["state"]["messages"] == 1
    # A single server of three decides nothing.
    next(node for node in cluster.nodes if node is not lost).stop(signal.SIGKILL)
    found = eventually(lambda: _without_answer(clinic), what="a JetStream that does not answer", timeout_sec=120)
    assert found.status == 4


def _server(clinic: Clinic, *flags: str) -> dict[str, Any]:
    server: dict[str, Any] = json.loads(clinic.ask("status", "--json", *flags)[1])["server"]
    return server


def _with(clinic: Clinic, wrong: set[tuple[str, str]]) -> Diagnosis | None:
    found = clinic.doctor()
    return found if found.found == wrong else None


def _without_answer(clinic: Clinic) -> Diagnosis | None:
    found = clinic.doctor()
    return found if {id for id, _ in found.found} & {"no-answer", "stream-silent"} else None
