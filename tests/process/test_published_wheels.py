"""Wheels beside the published 0.5.1, on one NATS: each side's workers install what the other's gateway has stored."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from pyoco_server.bridge import objects
from tests.conftest import Gateway
from tests.support.commands import Daemon, Daemons, is_serving
from tests.support.fleet import flow
from tests.support.nats import NatsServer, free_port
from tests.support.parts import Parts
from tests.support.peer import Peer
from tests.support.waiting import eventually
from tests.support.wheels import PLUGIN, chunk_subjects, file_name, wheel

pytestmark = pytest.mark.long

QUICK = {"PYOCO_WHEEL_SYNC_INTERVAL_SEC": "0.5"}


class BothGateways:
    """A gateway of each kind on one NATS."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        self._daemons = Daemons(folder)
        self.start = self._daemons.start
        self.nats = NatsServer(folder / "nats").start()
        self.ours = Gateway(self.start, self.nats).url
        port = str(free_port())
        self.theirs = f"http://127.0.0.1:{port}"
        daemon = self.start_theirs("pyoco-server", "up", "--port", port, "--nats-url", self.nats.url)
        eventually(lambda: is_serving(self.theirs, daemon), what="the published gateway serving")

    def start_theirs(self, name: str, *arguments: str, **env: str) -> Daemon:
        return self.start(str(self.peer.bin / name), *arguments, **env)

    def close(self) -> None:
        self._daemons.close()
        self.nats.stop()

    def upload(self, url: str, package: str, version: str, tags: str) -> requests.Response:
        data = wheel(package, version, entry_points=PLUGIN.format(package=package))
        files = {"wheel": (file_name(package, version), data)}
        return requests.post(f"{url}/wheels", files=files, data={"tags": tags}, timeout=30)

    def sync_of(self, worker_id: str) -> dict[str, Any]:
        workers = requests.get(f"{self.ours}/workers?scope=all", timeout=10).json()
        return next((worker["wheel_sync"] for worker in workers if worker["worker_id"] == worker_id), {})

    def which(self, package: str, tag: str) -> Any:
        """Run the package's task through our gateway and give what it says."""
        query = {"flow_name": "main", "tag": tag}
        text = flow("which", which=f"{package}:which")
        run_id = requests.post(f"{self.ours}/runs/yaml", params=query, data=text, timeout=10).json()["run_id"]

        def ended() -> Any:
            run = requests.get(f"{self.ours}/runs/{run_id}?include=records", timeout=10).json()
            return run if run["status"] in ("COMPLETED", "FAILED") else None

        run = eventually(ended, what="the run's end")
        assert run["status"] == "COMPLETED", run["error"]
        return run["task_records"]["which"]["output"]


@pytest.fixture(scope="module")
def both(peer_with_pip: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BothGateways]:
    found = BothGateways(peer_with_pip, tmp_path_factory.mktemp("both"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def peer_with_pip(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """An environment of its own: the published worker installs wheels into it."""
    peer = Peer(tmp_path_factory.mktemp("peer") / "0.5.1")
    python = str(peer.bin / "python")
    subprocess.run([python, "-m", "ensurepip"], check=True, capture_output=True, timeout=300)
    return peer


def test_a_published_worker_installs_and_runs_what_our_gateway_has_stored(both: BothGateways) -> None:
    assert both.upload(both.ours, "fromours", "1.0", "peers").status_code == 200
    flags = ("--nats-url", both.nats.url, "--tags", "peers", "--worker-id", "p1", "--wheel-sync")
    worker = both.start_theirs("pyoco-worker", *flags, **QUICK)

    def installed() -> bool:
        assert worker.process.poll() is None, worker.log
        return file_name("fromours") in both.sync_of("p1").get("selected_wheels", [])

    eventually(installed, what="the published worker installing it", timeout_sec=60)
    assert both.sync_of("p1")["last_result"] == "ok"
    assert both.which("fromours", "peers") == "1.0"


def test_our_worker_installs_and_runs_what_a_published_gateway_has_stored(both: BothGateways) -> None:
    flags = ("--nats-url", both.nats.url, "--tags", "ours", "--worker-id", "o1", "--wheel-sync")
    both.start("pyoco-worker", *flags, **QUICK).wait_for_log("the worker serves")
    for version in ("1.0", "1.1"):
        assert both.upload(both.theirs, "fromtheirs", version, "ours").status_code == 200
        assert both.which("fromtheirs", "ours") == version
    requests.delete(f"{both.theirs}/wheels/{file_name('fromtheirs', '1.1')}", timeout=10)
    assert both.which("fromtheirs", "ours") == "1.0"


@pytest.mark.parametrize(("first", "second"), [("ours", "theirs"), ("theirs", "ours")])
def test_each_gateway_lists_gives_out_and_deletes_what_the_other_has_stored(
    both: BothGateways, first: str, second: str
) -> None:
    one, other = getattr(both, first), getattr(both, second)
    package = f"from{first}to{second}"
    entry = both.upload(one, package, "1.0", "nobody").json()
    name = file_name(package)
    listed = {wheel["name"]: wheel for wheel in requests.get(f"{other}/wheels", timeout=10).json()}[name]
    # What 0.5.1 gives at an upload as the time is a moment later than what it stores.
    for field in ("size_bytes", "digest", "sha256_b64", "nuid", "tags"):
        assert listed[field] == entry[field]
    assert requests.get(f"{other}/wheels/{name}", timeout=10).content == wheel(
        package, entry_points=PLUGIN.format(package=package)
    )
    assert both.upload(other, package, "1.0", "nobody").status_code == 409
    assert both.upload(other, package, "0.9", "nobody").status_code == 409
    assert requests.delete(f"{other}/wheels/{name}", timeout=10).status_code == 200
    assert requests.get(f"{one}/wheels/{name}", timeout=10).status_code == 404
    for url in (one, other):
        events = requests.get(f"{url}/wheels/history", params={"wheel_name": name}, timeout=10).json()
        assert [event["action"] for event in events] == ["delete", "upload"]
        assert {event["sha256_hex"] for event in events} == {entry["sha256_hex"]}


def test_a_published_gateway_does_not_notice_what_is_removed_of_uploads_and_deletes(
    both: BothGateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "UNLISTED_SEC", 0.0)
    both.upload(both.theirs, "stays", "1.0", "nobody")
    for number, url in enumerate((both.theirs, both.ours)):
        both.upload(url, f"deleted{number}", "1.0", "nobody")
        requests.delete(f"{url}/wheels/{file_name(f'deleted{number}')}", timeout=10)
    before = requests.get(f"{both.theirs}/wheels", timeout=10).json()
    with Parts(both.nats.url) as parts:
        store = objects.ObjectStore(parts.bus, "pyoco_wheels")
        store.store(io.BytesIO(b"half"))
        assert store.discard_unlisted() == 1
        assert store.forget_deleted() >= 2
        assert len(chunk_subjects(parts)) == len(before)
    assert requests.get(f"{both.theirs}/wheels", timeout=10).json() == before
    assert both.upload(both.theirs, "stays", "1.1", "nobody").status_code == 200
    assert both.upload(both.theirs, "deleted0", "1.0", "nobody").status_code == 200
    assert requests.get(f"{both.ours}/wheels/{file_name('stays')}", timeout=10).status_code == 200


def test_the_published_client_works_with_our_registry(both: BothGateways, tmp_path: Path) -> None:
    path = tmp_path / file_name("sent")
    path.write_bytes(wheel("sent", entry_points=PLUGIN.format(package="sent")))

    def client(*args: str) -> Any:
        done = both.peer.run("pyoco-client", "--server", both.ours, *args, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert client("wheel-upload", "--wheel-file", str(path), "--tags", "nobody")["tags"] == ["nobody"]
    assert path.name in [entry["name"] for entry in client("wheels")]
    assert client("wheel-delete", "--name", path.name) == {"name": path.name, "deleted": True}
    assert [event["action"] for event in client("wheel-history", "--wheel-name", path.name)] == ["delete", "upload"]
