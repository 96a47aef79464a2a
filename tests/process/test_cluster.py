"""NATS as a cluster of three: a node that leads is killed or hangs while runs come in without a pause."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.commands import Daemon
from tests.support.fleet import TAG, flow
from tests.support.nats_cluster import NatsCluster
from tests.support.plant import Plant
from tests.support.waiting import PATIENCE_SEC, eventually

pytestmark = pytest.mark.long

RUNS, WORK = "KV_pyoco_runs", "PYOCO_WORK"
FLOW = flow("one >> two")
#: Longer than the lease of a job whose worker did not hear that it has it.
SETTLE_SEC = 120.0


class Submissions:
    """Submits one run after the other through a gateway, each until it is accepted.

    :ivar accepted: the run id by the name that its tasks note.
    :ivar refusals: how often the gateway answered with which status instead.
    """

    def __init__(self, url: str) -> None:
        self.accepted: dict[str, str] = {}
        self.refusals: Counter[int] = Counter()
        self._url = f"{url}/runs/yaml"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._submit_on)
        self._thread.start()

    def stop(self) -> None:
        """Begin no submission any more, and wait for the last one."""
        self._stopping.set()
        self._thread.join()

    def wait_for_more(self, count: int = 10) -> None:
        """Wait until the gateway has accepted so many more."""
        wanted = len(self.accepted) + count
        eventually(lambda: len(self.accepted) >= wanted, what="runs being accepted", timeout_sec=PATIENCE_SEC)

    def _submit_on(self) -> None:
        session = requests.Session()
        name = 0
        while not self._stopping.wait(0.05):
            query = {"flow_name": "main", "tag": TAG, "params": f'{{"name": "{name}"}}'}
            # With one key a name is one run, also where an answer says that it may have been accepted.
            headers = {"Idempotency-Key": str(name)}
            answer = session.post(self._url, params=query, data=FLOW, headers=headers, timeout=PATIENCE_SEC)
            if answer.status_code == 200:
                self.accepted[str(name)] = answer.json()["run_id"]
                name += 1
            else:
                self.refusals[answer.status_code] += 1


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
    """Two workers with the periods of an installation, which are longer than an election."""
    env = {"PYOCO_CONSUMER_ACK_WAIT_SEC": "30", "PYOCO_ACK_PROGRESS_INTERVAL_SEC": "10"}
    env["PYOCO_WORKER_DISCONNECT_TIMEOUT_SEC"] = "20"
    return [plant.hire("--worker-id", name, "--concurrency", "2", **env) for name in ("w1", "w2")]


@pytest.fixture
def submissions(plant: Plant, workers: list[Daemon]) -> Iterator[Submissions]:
    """Runs that come in without a pause."""
    found = Submissions(plant.url)
    yield found
    found.stop()


def check_that_each_ran_once(plant: Plant, workers: list[Daemon], submissions: Submissions) -> None:
    """Stop the stream of runs, and see how every one of them has ended."""
    submissions.stop()
    assert set(submissions.refusals) <= {503}
    for name, run_id in submissions.accepted.items():
        plant.fleet.ended(run_id, timeout_sec=SETTLE_SEC)
        assert (plant.begun(name, "one"), plant.begun(name, "two")) == (1, 1), plant.fleet.run(run_id)
    assert plant.fleet.queue_is_empty()
    assert plant.fleet.dead_letters() == []
    # None of them was started again.
    assert [daemon.process.poll() for daemon in (plant.gateway, *workers)] == [None, None, None]


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
