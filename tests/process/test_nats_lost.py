"""``pyoco-nats leave --lost``: a node is taken out of its cluster that cannot leave by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support.clinic import Clinic
from tests.support.commands import Daemon, reason, run
from tests.support.nodes import NodeProcess
from tests.support.waiting import PATIENCE_SEC, eventually

pytestmark = pytest.mark.long


class Team:
    """Three nodes, and further ones that join them."""

    def __init__(self, start: Callable[..., Daemon], folder: Path) -> None:
        self._start, self._folder = start, folder
        self.nodes = {name: NodeProcess(start, folder, name) for name in ("n1", "n2", "n3")}
        for node in self.nodes.values():
            node.up("--cluster", "team", *self._seeds, command="join")
        for node in self.nodes.values():
            node.wait_until_whole()
        self.clinic = Clinic(",".join(node.url for node in self.nodes.values()), folder)

    @property
    def _seeds(self) -> list[str]:
        return ["--seed", ",".join(f"127.0.0.1:{node.cluster_port}" for node in self.nodes.values())]

    def leader(self) -> str:
        """Name the node that leads the members of JetStream."""
        told = requests.get(f"{self.nodes['n1'].monitor}/jsz", timeout=5).json()
        return str(told["meta_cluster"]["leader"])

    def lose(self, name: str) -> None:
        self.nodes[name].daemon.kill()
        shutil.rmtree(self.nodes[name].folder)

    def remove(self, lost: str, *flags: str, by: str) -> tuple[int, str, str]:
        words = ("--lost", lost, "--datafolder", str(self.nodes[by].folder), "--confirm", *flags)
        done = run("pyoco-nats", "leave", *words, cwd=self._folder, timeout_sec=120)
        return done.returncode, done.stdout, done.stderr

    def remove_when_it_is_known(self, lost: str, *flags: str, by: str) -> str:
        """Remove it as soon as the others know that it is away; gives what was said of it at the end."""

        def look() -> tuple[int, str, str] | None:
            found = self.remove(lost, *flags, by=by)
            return None if "was within the last" in found[2] else found

        status, printed, said = eventually(look, what="the cluster missing a node", timeout_sec=PATIENCE_SEC)
        return printed if status == 0 else said

    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.clinic.doctor().found} - {"server-silent", "no-worker"}


@pytest.fixture
def team(start: Callable[..., Daemon], tmp_path: Path) -> Iterator[Team]:
    found = Team(start, tmp_path)
    yield found
    found.clinic.close()


def test_others_get_the_copies_of_a_node_that_is_lost(team: Team, start: Callable[..., Daemon], tmp_path: Path) -> None:
    team.clinic.queue("t")
    # Who takes its place has never heard of it, which looks like one that was there a moment ago.
    lost = team.leader()
    by, other = (name for name in team.nodes if name != lost)
    status, printed, said = team.remove(lost, by=by)
    assert (status, printed) == (1, "") and f"ERR-PYOCO-0018 {lost} is there" in reason(said)
    status, printed, said = team.remove("n9", by=by)
    assert (status, printed) == (1, "") and "The cluster has no server n9. None is away." in reason(said)
    team.lose(lost)
    told = json.loads(team.remove_when_it_is_known(lost, by=by))
    assert told["server"] == lost and "PYOCO_WORK" in told["moved"]
    # Two are left, and nothing can have a third copy.
    eventually(lambda: team.kinds() == {"copies-missing"}, what="copies that are missing", timeout_sec=PATIENCE_SEC)
    fourth = NodeProcess(start, tmp_path, "n4")
    fourth.join(team.nodes[by], team.nodes[other])
    eventually(lambda: not team.kinds(), what="a third copy of everything", timeout_sec=PATIENCE_SEC)
    assert {len(found) for found in team.clinic.holders().values()} == {3}
    assert team.clinic.settings("PYOCO_WORK")
    assert team.clinic.bus.api("STREAM.INFO.PYOCO_WORK")["state"]["messages"] == 1


def test_the_only_copy_is_given_up_where_that_is_said_alone(team: Team) -> None:
    (name,) = team.clinic.make_single("ONE")
    other = next(each for each in team.nodes if each != name)
    team.lose(str(name))
    said = team.remove_when_it_is_known(str(name), by=other)
    assert "No server that is left has a copy of ONE" in said
    told = json.loads(team.remove_when_it_is_known(str(name), "--stop-anyway", by=other))
    assert told["server"] == name and "ONE" not in told["moved"]


def test_a_node_of_nats_bootstrap_serves_in_one_cluster_with_ours(
    team: Team, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    theirs = NodeProcess(start, tmp_path, "theirs")
    theirs.folder.mkdir()
    # With flags its published versions cannot join; with a configuration they do.
    conf = theirs.folder / "nats.conf"
    conf.write_text(
        f"server_name: theirs\nlisten: 127.0.0.1:{theirs.port}\nhttp: 127.0.0.1:{theirs.http_port}\n"
        f"jetstream {{ store_dir: '{theirs.folder}/store' }}\n"
        f"cluster {{ name: team, listen: 127.0.0.1:{theirs.cluster_port},"
        f" routes: ['nats://127.0.0.1:{team.nodes['n1'].cluster_port}'] }}\n"
    )
    theirs.daemon = start("nats-bootstrap", "up", "--nats-config", str(conf))
    theirs.wait_until_whole()
    # A node that leaves gives what it has to it.
    done = run(
        "pyoco-nats", "leave", "--datafolder", str(team.nodes["n3"].folder), "--confirm", cwd=tmp_path, timeout_sec=120
    )
    assert done.returncode == 0, done.stderr
    all_others = {frozenset({"n1", "n2", "theirs"})}
    # A leader may for a moment tell of itself alone.
    eventually(
        lambda: set(map(frozenset, team.clinic.holders().values())) == all_others,
        what="copies on all others",
        timeout_sec=PATIENCE_SEC,
    )
    # pyoco-nats stops what it has started alone.
    for command in ("down", "leave"):
        done = run("pyoco-nats", command, "--datafolder", str(theirs.folder), "--confirm", cwd=tmp_path)
        assert done.returncode == 1 and "What something else has started that has to stop" in reason(done.stderr)
    # It does not pass a signal on to its nats-server.
    os.killpg(theirs.daemon.process.pid, signal.SIGTERM)
    assert json.loads(team.remove_when_it_is_known("theirs", by="n1"))["server"] == "theirs"
