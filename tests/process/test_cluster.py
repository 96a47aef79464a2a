"""NATS as a cluster of three: a node that leads is killed or hangs while runs come in without a pause."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Daemon
from tests.support.fleet import flow
from tests.support.nats_cluster import NatsCluster
from tests.support.plant import Plant
from tests.support.submissions import PERIODS, Submissions, check_that_each_ran_once
from tests.support.waiting import PATIENCE_SEC

pytestmark = pytest.mark.long

RUNS, WORK = "KV_pyoco_runs", "PYOCO_WORK"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    """Three nodes."""
    found = NatsCluster(tmp_path / "nats")
    yield found
    found.stop()


@pytest.fixture
def plant(cluster: NatsCluster, tmp_path: Path) -> Iterator[Plant]:
    """A gateway on the three nodes."""
    found = Plant(tmp_path, cluster.start())
    yield found
    found.close()


@pytest.fixture
def workers(plant: Plant) -> list[Daemon]:
    """Two workers with the periods of an installation."""
    return [plant.hire("--worker-id", name, "--concurrency", "2", **PERIODS) for name in ("w1", "w2")]


@pytest.fixture
def submissions(plant: Plant, workers: list[Daemon]) -> Iterator[Submissions]:
    """Runs that come in without a pause."""
    found = Submissions(plant.url)
    yield found
    found.stop()


def test_all_that_is_kept_is_kept_by_every_node(plant: Plant) -> None:
    streams = plant.fleet.bus.api("STREAM.LIST")["streams"]
    assert {stream["config"]["num_replicas"] for stream in streams} == {3}


@pytest.mark.parametrize("stream", [RUNS, WORK])
def test_every_run_ends_once_when_the_leader_of_a_stream_is_killed_and_comes_back(
    cluster: NatsCluster, plant: Plant, workers: list[Daemon], submissions: Submissions, stream: str
) -> None:
    submissions.wait_for_more()
    leader = cluster.leader(stream)
    leader.stop(signal.SIGKILL)
    # The others go on without it.
    assert cluster.leader(stream) is not leader
    submissions.wait_for_more()
    leader.start()
    cluster.wait_until_whole()
    submissions.wait_for_more()
    check_that_each_ran_once(plant, workers, submissions)


def test_every_run_ends_once_when_a_node_hangs_and_goes_on_later(
    cluster: NatsCluster, plant: Plant, workers: list[Daemon], submissions: Submissions
) -> None:
    submissions.wait_for_more()
    # Gateway, leader of the runs and perhaps a worker: all that is bound to it goes to another one.
    node = cluster.node_of("pyoco-gateway")
    with node.frozen():
        assert cluster.leader(RUNS) is not node
        assert cluster.node_of("pyoco-gateway") is not node
        submissions.wait_for_more()
    cluster.wait_until_whole()
    submissions.wait_for_more()
    check_that_each_ran_once(plant, workers, submissions)


def test_run_of_a_worker_whose_node_hangs_goes_on_there(cluster: NatsCluster, plant: Plant) -> None:
    """It took a worker up to 30 s to go to another node, and by then the run had begun elsewhere."""
    env = {"PYOCO_CONSUMER_ACK_WAIT_SEC": "16", "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "5"}
    env["PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC"] = "16"
    first = plant.hire("--worker-id", "first", **env)
    run_id = plant.submit(flow("hold"), params={"name": "held.hold"})
    plant.fleet.running(run_id, "hold")
    plant.hire("--worker-id", "second", **env)
    node = cluster.node_of("pyoco-worker-first")
    with node.frozen():
        first.wait_for_log("connected to NATS again", timeout_sec=PATIENCE_SEC)
        plant.fleet.wait_for_life(run_id)
    assert plant.begun("held", "hold") == 1
    plant.fleet.touch("held.hold")
    run = plant.fleet.ended(run_id, timeout_sec=PATIENCE_SEC)
    assert (run["worker_id"], run["attempt"]) == ("first", 1)


def test_gateway_that_is_started_while_a_cluster_has_no_majority_waits_for_it(
    cluster: NatsCluster, plant: Plant
) -> None:
    plant.gateway.stop()
    for node in cluster.nodes[1:]:
        node.stop(signal.SIGKILL)
    url = cluster.nodes[0].url
    gateway = plant.start("pyoco-server", "up", "--port", "0", "--nats-url", url)
    assert cluster.node_of("pyoco-gateway") is cluster.nodes[0]
    for node in cluster.nodes[1:]:
        node.start()
    gateway.wait_for_log("the gateway serves at", timeout_sec=PATIENCE_SEC)
