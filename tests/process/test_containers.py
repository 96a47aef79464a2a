"""What lies under deploy/docker, as far as it can be tried without an engine that runs containers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyoco_server.bridge.client import Bus
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from pyoco_server.embedded import find_nats_server
from pyoco_server.service import Deadline
from tests.support.commands import BIN, Daemon, check_understood
from tests.support.fleet import TAG, Fleet, flow
from tests.support.nats import NatsServer, free_port
from tests.support.tools import need, need_that
from tests.support.waiting import PATIENCE_SEC, eventually

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
SECONDS = {"s": 1, "m": 60}


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    return found


def test_hadolint_has_nothing_to_say_of_the_image() -> None:
    done = subprocess.run([BIN / "hadolint", DOCKER / "Dockerfile"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_image_is_built_from_what_the_wheel_needs(tmp_path: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (DOCKER / "Dockerfile").read_text(), re.M)
    names = [name for line in copied for name in line.split()]
    kept = re.findall(r"^!(.*)$", (DOCKER / "Dockerfile.dockerignore").read_text(), re.M)
    assert sorted(names) == sorted(kept)
    for name in names:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    done = subprocess.run(
        [BIN / "uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path / "out", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").glob("*.whl")
    listed = subprocess.run(["python", "-m", "zipfile", "-l", wheel], capture_output=True, text=True, timeout=60).stdout
    for name in ("pyoco_server/cli/worker.py", "pyoco_server/web/templates/base.html", "man1/pyoco-server.1"):
        assert name in listed


def test_compose_takes_the_file(tmp_path: Path) -> None:
    need("docker-compose", "docker-compose")
    # The one that Debian has does not know the name of a project; the specification does.
    text = (DOCKER / "compose.yaml").read_text().replace("name: pyoco\n", "", 1)
    (tmp_path / "compose.yaml").write_text(text)
    done = subprocess.run(
        ["docker-compose", "-f", tmp_path / "compose.yaml", "config"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["services"].keys() == services().keys()


@pytest.mark.parametrize("name", services())
def test_the_command_of_a_service_is_understood(name: str, tmp_path: Path) -> None:
    command = re.search(r"^CMD (\[.*\])$", (DOCKER / "Dockerfile").read_text(), re.M)
    assert command is not None
    program, *words = services()[name].get("command") or json.loads(command[1])
    if program != "nats-server":
        check_understood(program, *words, cwd=tmp_path)
    # Only these survive in a file system that cannot be written.
    assert services()[name]["read_only"] and services()[name]["tmpfs"] == ["/tmp:exec"]


def test_a_worker_is_given_more_time_to_stop_than_it_lets_runs_go_on() -> None:
    worker = services()["worker"]
    number, unit = worker["stop_grace_period"][:-1], worker["stop_grace_period"][-1]
    assert int(number) * SECONDS[unit] >= float(worker["environment"]["PYOCO_DRAIN_SEC"]) + 15
    assert worker["environment"]["PYOCO_HEALTH_LISTEN"].rpartition(":")[2] in worker["environment"]["HEALTH_URL"]


def test_the_nodes_become_a_cluster_that_keeps_three_copies(tmp_path: Path) -> None:
    nodes = [name for name in services() if name.startswith("n")]
    ports = {node: {port: free_port() for port in (4222, 6222, 8222)} for node in nodes}
    started: list[subprocess.Popen[bytes]] = []
    bus: Bus | None = None
    try:
        for node in nodes:
            text = (DOCKER / "nats.conf").read_text().replace("/var/lib/pyoco", str(tmp_path / node))
            text = re.sub(r"nats://(n\d):6222", lambda found: f"nats://127.0.0.1:{ports[found[1]][6222]}", text)
            for port, free in ports[node].items():
                text = re.sub(rf"(0\.0\.0\.0|127\.0\.0\.1):{port}\b", f"127.0.0.1:{free}", text)
            conf = tmp_path / f"{node}.conf"
            conf.write_text(text)
            env = {**os.environ, **services()[node]["environment"]}
            checked = subprocess.run([find_nats_server(), "-t", "-c", conf], env=env, capture_output=True, timeout=60)
            assert checked.returncode == 0, checked.stderr
            with (tmp_path / f"{node}.log").open("wb") as log:
                started.append(subprocess.Popen([find_nats_server(), "-c", conf], env=env, stdout=log, stderr=log))
        url = ",".join(f"nats://127.0.0.1:{ports[node][4222]}" for node in nodes)
        bus = Bus(url, name="test", budget_sec=PATIENCE_SEC, waits_when_down=True)
        eventually(lambda: _connects(bus), what="a node", timeout_sec=PATIENCE_SEC)
        assert bus.is_clustered
        ensure_resources(bus, Config.from_env({}, nats_url=url), budget_sec=PATIENCE_SEC)
        work = bus.api("STREAM.INFO.PYOCO_WORK")
        assert work["config"]["num_replicas"] == 3
        assert {work["cluster"]["leader"], *(peer["name"] for peer in work["cluster"]["replicas"])} == set(nodes)
    finally:
        if bus is not None:
            bus.close(Deadline(5))
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(PATIENCE_SEC)


def _connects(bus: Bus) -> bool:
    try:
        bus.connect(5)
    except Exception:
        return False
    return True


def test_what_tasks_leave_behind_is_looked_after_by_the_first_process(
    start: Callable[..., Daemon], fleet: Fleet, nats: NatsServer, tmp_path: Path
) -> None:
    need("tini", "tini")
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", (DOCKER / "Dockerfile").read_text(), re.M)
    assert entry is not None
    words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *json.loads(entry[1])]
    allowed = subprocess.run([*words[:5], "true"], capture_output=True, timeout=60)
    need_that(allowed.returncode == 0, "this machine lets nobody here make namespaces")
    command = [*words, str(BIN / "pyoco-worker"), "--tags", TAG, "--nats-url", nats.url]
    (tmp_path / "first").write_text("#!/bin/sh\nexec " + " ".join(command) + "\n")
    (tmp_path / "first").chmod(0o755)
    worker = start(str(tmp_path / "first"))
    worker.wait_for_log("the worker serves", timeout_sec=PATIENCE_SEC)
    fleet.ended(fleet.submit(flow("leave_orphan")), timeout_sec=PATIENCE_SEC)
    orphan = int(fleet.wait_for_file("orphan"))
    # It has ended, and is nobody's zombie.
    inside = Path(f"/proc/{_child_of(worker.process.pid)}/root/proc/{orphan}")
    eventually(lambda: not inside.exists(), what="the end of the orphan", timeout_sec=PATIENCE_SEC)


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
