"""systemd itself runs the units of deploy/systemd: starts, stops, drains, deaths and hang-ups."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.fleet import TAG, Fleet, flow
from tests.support.nats import NatsServer, free_port
from tests.support.notify import BLOCKING
from tests.support.systemd import Systemd
from tests.support.waiting import PATIENCE_SEC, eventually


@pytest.fixture
def systemd(tmp_path: Path, nats: NatsServer) -> Iterator[Systemd]:
    found = Systemd(tmp_path, nats.url)
    found.set("worker", f'Environment="WORKER_FLAGS=--tags {TAG}"', "RestartSec=0.2")
    try:
        yield found
    finally:
        found.close()


def wait_for_state(systemd: Systemd, state: str) -> None:
    eventually(
        lambda: systemd.property("ActiveState", "worker") == state, what=f"{state} worker", timeout_sec=PATIENCE_SEC
    )


def wait_for_restart(systemd: Systemd, count: int) -> None:
    eventually(
        lambda: (
            (systemd.property("NRestarts", "worker"), systemd.property("ActiveState", "worker"))
            == (str(count), "active")
        ),
        what="the restart",
        timeout_sec=PATIENCE_SEC,
    )


def wait_for_sentinel(systemd: Systemd) -> None:
    eventually(
        lambda: "its processes were ended, and 1 of its 1 jobs handed back" in systemd.log("worker"),
        what="what the sentinel did",
        timeout_sec=PATIENCE_SEC,
    )


def test_a_gateway_that_was_started_answers(systemd: Systemd) -> None:
    port = free_port()
    systemd.set("gateway", f'Environment="GATEWAY_FLAGS=--port {port}"')
    systemd.start()
    systemd.ctl("start", "pyoco-gateway")
    assert requests.get(f"http://127.0.0.1:{port}/ready", timeout=10).status_code == 200
    assert systemd.property("StatusText", "gateway") == "serves: 0 runs wait, 0 run"
    systemd.ctl("stop", "pyoco-gateway")
    assert systemd.property("Result", "gateway") == "success"


@pytest.mark.long
def test_a_worker_that_is_stopped_lets_its_runs_end_and_one_that_died_leaves_its_jobs_to_its_next_life(
    systemd: Systemd, fleet: Fleet
) -> None:
    # Enough for a sentinel, and less than the run takes: its worker asks for more.
    systemd.set("worker", "TimeoutStopSec=12", "Environment=PYOCO_DRAIN_SEC=600")
    systemd.start()
    systemd.ctl("start", "pyoco-worker")
    # A program of a task hears what the manager says to all processes.
    run_id = fleet.submit(flow("hold_in_program"))
    fleet.wait_for_file("go.program")
    (fleet.folder / "go.program").unlink()
    systemd.ctl("kill", "--kill-who=main", "--signal=KILL", "pyoco-worker")
    wait_for_restart(systemd, 1)
    wait_for_sentinel(systemd)
    eventually(lambda: fleet.run(run_id)["attempt"] == 2, what="the second attempt", timeout_sec=PATIENCE_SEC)
    fleet.wait_for_file("go.program")
    systemd.ctl("stop", "--no-block", "pyoco-worker")
    stopped_at = time.monotonic()
    eventually(
        lambda: systemd.property("StatusText", "worker").startswith("takes no more runs"),
        what="the drain",
        timeout_sec=PATIENCE_SEC,
    )
    eventually(lambda: time.monotonic() > stopped_at + 15, what="the end of the time to stop")
    fleet.wait_for_life(run_id)
    fleet.touch("go")
    assert fleet.ended(run_id)["attempt"] == 2
    wait_for_state(systemd, "inactive")
    assert systemd.property("Result", "worker") == "success"


def test_a_worker_that_was_drained_stays_down_and_one_that_waits_for_nats_can_be_stopped(
    systemd: Systemd, fleet: Fleet, nats: NatsServer
) -> None:
    systemd.start()
    systemd.ctl("start", "pyoco-worker")
    fleet.change_worker(socket.gethostname(), drain_requested_at=time.time())
    wait_for_state(systemd, "inactive")
    assert (systemd.property("Result", "worker"), systemd.property("NRestarts", "worker")) == ("success", "0")
    nats.stop()
    systemd.ctl("start", "--no-block", "pyoco-worker")
    eventually(
        lambda: systemd.property("StatusText", "worker") == "waits for NATS", what="the wait", timeout_sec=PATIENCE_SEC
    )
    assert systemd.property("ActiveState", "worker") == "activating"
    systemd.ctl("stop", "pyoco-worker")
    assert (systemd.property("ActiveState", "worker"), systemd.property("NRestarts", "worker")) == ("inactive", "0")


@pytest.mark.long
def test_a_worker_that_hangs_is_ended_and_what_it_had_goes_on(systemd: Systemd, fleet: Fleet) -> None:
    systemd.set(
        "worker", "WatchdogSec=4", f"Environment=PYTHONPATH={BLOCKING}", "Environment=BLOCKED_THREAD=pyoco-bridge"
    )
    systemd.start()
    systemd.ctl("start", "pyoco-worker")
    run_id = fleet.submit(flow("hold"))
    fleet.running(run_id, "hold")
    systemd.ctl("kill", "--kill-who=main", "--signal=USR1", "pyoco-worker")
    wait_for_restart(systemd, 1)
    wait_for_sentinel(systemd)
    assert "pyoco-bridge does not come round any more" in systemd.log("worker")
    assert "Fatal Python error: Aborted" in systemd.log("worker")
    fleet.touch("go")
    assert fleet.ended(run_id, timeout_sec=PATIENCE_SEC)["attempt"] == 2
