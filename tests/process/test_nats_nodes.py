"""``pyoco-nats up``, ``join`` and ``down`` as an operator runs them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest
import requests

from pyoco_server.bridge.client import Bus
from pyoco_server.node import running_node
from pyoco_server.operations.leave import leave
from pyoco_server.ports import answers
from pyoco_server.service import Deadline
from tests.support.clinic import Clinic
from tests.support.commands import Daemon, reason, run
from tests.support.nats import free_port
from tests.support.nodes import NodeProcess
from tests.support.waiting import PATIENCE_SEC, eventually

Make = Callable[[str], NodeProcess]


@pytest.fixture
def make(start: Callable[..., Daemon], tmp_path: Path) -> Make:
    return lambda name: NodeProcess(start, tmp_path, name)


def act(node: NodeProcess, command: str, *flags: str) -> tuple[int, str, str]:
    done = run("pyoco-nats", command, "--datafolder", str(node.folder), *flags, cwd=node.folder, timeout_sec=120)
    return done.returncode, done.stdout, done.stderr


def test_a_node_runs_in_the_foreground_until_down_and_goes_on_with_what_it_has(make: Make, tmp_path: Path) -> None:
    node = make("n1")
    daemon = node.up()
    node.wait_until_whole()
    # It has become nats-server itself: a signal to it needs nobody who passes it on.
    assert (node.folder / "nats-server.pid").read_text() == str(daemon.process.pid)
    clinic = Clinic(node.url, tmp_path)
    clinic.queue("t")
    assert clinic.doctor("--monitor", node.monitor).found == {("no-worker", "t")}
    clinic.close()
    status, printed, _ = act(node, "down", "--confirm")
    assert (status, json.loads(printed)) == (0, {"pid": daemon.process.pid, "datafolder": str(node.folder)})
    assert daemon.stop() == 0
    assert "JetStream Shutdown" in daemon.log
    node.up()
    node.wait_until_whole()
    clinic = Clinic(node.url, tmp_path)
    assert clinic.bus.api("STREAM.INFO.PYOCO_WORK")["state"]["messages"] == 1
    clinic.close()
    assert node.daemon.stop(signal.SIGINT) == 0


def test_down_wants_to_be_confirmed_and_stops_what_runs_there_alone(make: Make, tmp_path: Path) -> None:
    node = make("n1")
    node.folder.mkdir()
    status, printed, said = act(node, "down", "--confirm")
    assert (status, printed) == (1, "")
    assert reason(said).startswith(f"ERR-PYOCO-0018 No NATS node of pyoco-nats runs in {node.folder}.")
    daemon = node.up()
    node.wait_until_whole()
    status, printed, said = act(node, "down")
    assert (status, printed) == (1, "")
    assert reason(said).startswith("ERR-PYOCO-0018 --confirm is missing")
    status, printed, said = act(node, "leave", "--confirm")
    assert (status, printed) == (1, "")
    assert reason(said).startswith("ERR-PYOCO-0018 n1 belongs to no cluster")
    assert node.is_whole()
    # Its number may be that of any other process by now.
    daemon.kill()
    status, _, said = act(node, "down", "--confirm")
    assert status == 1 and reason(said).startswith("ERR-PYOCO-0018 No NATS node of pyoco-nats runs in")


def writer_of(fifo: Path, reader: Daemon) -> TextIO | None:
    """Open a FIFO for writing, or give nothing while nobody reads it; its reader must not have ended."""
    assert reader.process.poll() is None, reader.log
    with contextlib.suppress(OSError):
        # A FIFO without a reader would block an ordinary open for ever.
        return os.fdopen(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK), "w")
    return None


def test_down_leaves_alone_who_has_the_number_of_an_earlier_node(make: Make) -> None:
    node = make("n1")
    node.folder.mkdir()
    password = node.folder / "system-password"
    os.mkfifo(password)
    other = subprocess.Popen(["sleep", "600"])
    try:
        (node.folder / "nats-server.pid").write_text(str(other.pid))
        # It has the store, and comes no further than to the password.
        daemon = node.up()
        with eventually(lambda: writer_of(password, daemon), what="its reader", timeout_sec=PATIENCE_SEC) as rest:
            status, _, said = act(node, "down", "--confirm")
            assert other.poll() is None
            rest.write("secret")
    finally:
        other.kill()
        other.wait()
    assert status == 1 and reason(said).startswith("ERR-PYOCO-0018 No NATS node of pyoco-nats runs in")
    node.wait_until_whole()
    assert act(node, "down", "--confirm")[0] == 0


def test_a_password_that_was_cut_off_by_a_kill_is_made_anew(make: Make) -> None:
    node = make("n1")
    node.folder.mkdir()
    password = node.folder / "system-password"
    password.touch()
    node.up()
    node.wait_until_whole()
    made = password.read_text()
    assert len(made) == 32 and made in (node.folder / "nats-server.conf").read_text()
    secret = {path.name for path in node.folder.iterdir() if path.is_file() and path.stat().st_mode & 0o077 == 0}
    assert secret == {"system-password", "nats-server.conf"}


def test_a_store_is_used_by_one_node_alone(make: Make) -> None:
    first, second = make("n1"), make("n2")
    first.up()
    first.wait_until_whole()
    second.folder = first.folder
    assert second.up().process.wait(60) == 1
    said = f"ERR-PYOCO-0018 The store {first.folder} is in use by a NATS server at {first.url} already. Stop that one"
    assert said in second.daemon.log
    assert first.is_whole()


def test_what_follows_two_dashes_goes_to_nats_server_and_wins(make: Make) -> None:
    node = make("n1")
    port = free_port()
    node.up(f"-- -js -p {port} -a 127.0.0.1")
    node.wait_until_whole()
    assert answers("127.0.0.1", port) and not answers("127.0.0.1", node.port)
    told = requests.get(f"{node.monitor}/jsz", timeout=5).json()["config"]
    # The store is the node's own, and it is written to disk as always.
    assert (told["sync_always"], told["store_dir"]) == (True, str(node.folder / "jetstream"))


@pytest.mark.long
def test_three_nodes_become_a_cluster_in_which_everything_has_three_copies(make: Make, tmp_path: Path) -> None:
    first, second, third = (make(name) for name in ("n1", "n2", "n3"))
    first.up("--cluster", "team").wait_for_log("Listening for route connections")
    second.join(first)
    second.wait_until_whole()
    # The name of the cluster comes from the nodes that are there.
    third.join(first, second)
    for node in (first, second, third):
        node.wait_until_whole()
    clinic = Clinic(",".join(node.url for node in (first, second, third)), tmp_path)
    copies = {clinic.settings(stream)["num_replicas"] for stream in clinic.bus.api("STREAM.NAMES")["streams"]}
    assert copies == {3}
    clinic.close()
    # After a power failure there is nobody whom they could ask for the name of their cluster.
    for node in (first, second, third):
        assert node.daemon.stop() == 0
    second.join(first, third)
    third.join(first, second)
    for node in (second, third):
        node.wait_until_whole()


def test_a_seed_at_which_no_node_of_a_cluster_listens_is_refused(make: Make, tmp_path: Path) -> None:
    alone = make("n1")
    alone.up()
    alone.wait_until_whole()
    for port in (free_port(), alone.port):
        done = run("pyoco-nats", "join", "--seed", f"127.0.0.1:{port}", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert reason(done.stderr).startswith(f"ERR-PYOCO-0018 No node of a cluster answers at 127.0.0.1:{port}.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("up", "--client-port", "0"), "--client-port: 0 is no port"),
        (("up", "--cluster", "a b"), "--cluster: 'a b' is not a name"),
        (("join",), "--seed"),
        (("join", "--seed", "n1:x"), "--seed: 'x' is not a port"),
    ],
)
def test_a_bad_argument_is_refused_by_name_with_an_example(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = run("pyoco-nats", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in reason(done.stderr)


@pytest.mark.long
def test_a_node_that_leaves_moves_what_comes_while_it_does_so(make: Make, tmp_path: Path) -> None:
    nodes = {name: make(name) for name in ("n1", "n2", "n3")}
    first, *others = nodes.values()
    first.up("--cluster", "team").wait_for_log("Listening for route connections")
    for node in others:
        node.join(first)
    for node in nodes.values():
        node.wait_until_whole()
    clinic = Clinic(",".join(node.url for node in nodes.values()), tmp_path, is_empty=True)
    (name,) = clinic.make_single("ONE")
    leaving = running_node(nodes[str(name)].folder)
    later: list[str] = []

    def report(stream: str) -> None:
        while stream == "ONE" and clinic.holders().get(later[-1] if later else "") != {name}:
            assert len(later) < 50, "no stream comes to lie on the server that leaves"
            later.append(f"LATER{len(later)}")
            clinic.make_single(later[-1])

    system = Bus(leaving.system_url, name="test", budget_sec=15.0, waits_when_down=True)
    system.connect(10)
    moved = leave(clinic.bus, system, leaving.name, lowers=False, report=report)
    system.close(Deadline(5))
    assert moved == ["ONE", later[-1]]
    assert all(name not in found for found in clinic.holders().values())
    clinic.close()


@pytest.mark.long
def test_a_node_that_leaves_moves_what_it_holds_to_others(make: Make, tmp_path: Path) -> None:
    nodes = {name: make(name) for name in ("n1", "n2", "n3", "n4")}
    first, second, third, fourth = nodes.values()
    first.up("--cluster", "team").wait_for_log("Listening for route connections")
    for node in (second, third):
        node.join(first)
    for node in (first, second, third):
        node.wait_until_whole()
    clinic = Clinic(",".join(node.url for node in nodes.values()), tmp_path)
    clinic.queue("t")
    # A copy that is the only one moves, too.
    (name,) = clinic.make_single("ONE")
    leaving = nodes[str(name)]
    status, printed, said = act(leaving, "leave", "--confirm")
    assert (status, printed) == (1, "")
    assert "have more replicas than the 2 servers that would be left" in reason(said)
    fourth.join(first, second, third)
    fourth.wait_until_whole()
    held = {stream for stream, holders in clinic.holders().items() if name in holders}
    status, printed, said = act(leaving, "leave", "--confirm")
    assert status == 0, said
    told = json.loads(printed)
    assert (told["server"], set(told["moved"])) == (name, held)
    assert leaving.daemon.process.wait(60) == 0
    holders = clinic.holders()
    assert all(name not in found for found in holders.values())
    assert len(holders.pop("ONE")) == 1
    assert {len(found) for found in holders.values()} == {3}
    # Of two nodes that are left nothing can have three copies, and two would be worse than one.
    leaving = nodes[clinic.bus.api("STREAM.INFO.PYOCO_WORK")["cluster"]["leader"]]
    status, printed, said = act(leaving, "leave", "--stop-anyway", "--confirm")
    assert status == 0, said
    holders = clinic.holders()
    assert all(len(found) == 1 and leaving.name not in found for found in holders.values())
    assert clinic.bus.api("STREAM.INFO.PYOCO_WORK")["state"]["messages"] == 1
    clinic.close()
