"""An installation that grows from one NATS server to three, and loses each of them in turn, while runs come in."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clinic import Clinic
from tests.support.nats_cluster import NatsCluster
from tests.support.plant import Plant
from tests.support.submissions import PERIODS, Submissions, check_that_each_ran_once

pytestmark = pytest.mark.long


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three nodes on which everything has one copy, as it has where there was one node at first."""
    found = NatsCluster(tmp_path / "nats").start()
    Clinic(found.url, tmp_path, PYOCO_NATS_REPLICAS="1").close()
    yield found
    found.stop()


@pytest.fixture
def plant(cluster: NatsCluster, tmp_path: Path) -> Iterator[Plant]:
    found = Plant(tmp_path, cluster)
    yield found
    found.close()


def test_every_run_ends_once_while_copies_are_made_and_each_node_is_killed_in_turn(
    cluster: NatsCluster, plant: Plant, tmp_path: Path
) -> None:
    workers = [plant.hire("--worker-id", name, "--concurrency", "2", **PERIODS) for name in ("w1", "w2")]
    clinic = Clinic(cluster.url, tmp_path)
    submissions = Submissions(plant.url)
    try:
        submissions.wait_for_more()
        fixed = clinic.doctor("--fix").fixed
        assert {("replicas", stream) for stream in clinic.holders()} <= fixed
        for node in cluster.nodes:
            submissions.wait_for_more()
            node.stop(signal.SIGKILL)
            submissions.wait_for_more()
            node.start()
            cluster.wait_until_whole()
        assert {len(holders) for holders in clinic.holders().values()} == {3}
        check_that_each_ran_once(plant, workers, submissions)
    finally:
        clinic.close()
        submissions.stop()
