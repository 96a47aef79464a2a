"""The log of a run in a cluster, where a node may answer that does not have all of it yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoco_server.stores.logs import LogStore
from tests.support.nats_cluster import NatsCluster
from tests.support.parts import Parts
from tests.support.printed import append, entry

pytestmark = pytest.mark.long


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    made = NatsCluster(tmp_path).start()
    yield made
    made.stop()


def test_whoever_knows_that_something_was_stored_reads_it_over_every_node(cluster: NatsCluster) -> None:
    urls = [node.url for node in cluster.nodes]
    with Parts(urls[0]) as writer, Parts(urls[1]) as second, Parts(urls[2]) as third:
        assert writer.info("PYOCO_LOGS")["config"]["num_replicas"] == 3
        cluster.wait_until_whole()
        readers = [LogStore(parts.bus) for parts in (writer, second, third)]
        following = [reader.reader("r") for reader in readers]
        for number in range(300):
            append(writer, "r", entry(2 * number), entry(2 * number + 1))
            for reader, follower in zip(readers, following, strict=True):
                assert [each.fields["seq"] for each in reader.read("r", count=1).entries] == [2 * number + 1]
                new = [each.fields["seq"] for some in follower.more() for each in some]
                assert new == [2 * number, 2 * number + 1]
        for reader in readers:
            assert len(reader.read("r").entries) == 600
