"""Workers and the absence of NATS: at the start, for good, and in the middle of a run."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.commands import Daemon, run
from tests.support.crew import Crew
from tests.support.fleet import QUICK, flow
from tests.support.nats import NatsServer, free_port
from tests.support.waiting import PATIENCE_SEC


@pytest.mark.long
def test_run_once_without_nats_ends_with_the_address_that_it_tried(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    started_at = time.monotonic()
    done = run("pyoco-worker", "--nats-url", url, "--run-once", cwd=tmp_path)
    assert time.monotonic() - started_at < 10
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ERR-PYOCO-0003") and url in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_worker_waits_for_nats_and_serves_when_it_comes_unless_it_is_stopped(crew: Crew, nats: NatsServer) -> None:
    nats.stop()
    patient, stopped = crew.begin("patient"), crew.begin("stopped")
    for worker in (patient, stopped):
        assert nats.url in worker.wait_for_log("waiting for NATS: .*")[0]
    assert stopped.stop(timeout_sec=8) == 0
    nats.start()
    patient.wait_for_log("the worker serves")
    crew.fleet.ended(crew.submit(flow("quick")))


@pytest.mark.long
@pytest.mark.parametrize("accepts", [False, True])
def test_worker_that_waits_for_nats_stops_at_once(tmp_path: Path, accepts: bool) -> None:
    # Nobody there, or somebody who takes connections and says nothing.
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        port = silent.getsockname()[1] if accepts else free_port()
        worker = Daemon("pyoco-worker", "--nats-url", f"nats://127.0.0.1:{port}", cwd=tmp_path, log=tmp_path / "log")
        try:
            if accepts:
                # The stop comes in the midst of an attempt, which may take five seconds.
                stack.enter_context(silent.accept()[0])
            else:
                worker.wait_for_log("waiting for NATS")
            assert worker.stop(timeout_sec=4) == 0
        finally:
            worker.kill()
        assert "Traceback" not in worker.log


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_run_completes_once_when_nats_goes_and_comes_back_in_the_middle_of_it(
    crew: Crew, nats: NatsServer, number: signal.Signals
) -> None:
    fleet = crew.fleet
    worker = crew.hire("only", **QUICK)
    run_id = crew.submit_held("hold >> after_hold")
    crew.wait_for_begin()
    nats.stop(number)
    worker.wait_for_log("the connection to NATS was lost")
    # A task ends and another one begins and ends while nobody can be told.
    crew.let_go()
    fleet.wait_for_file(f"{crew.tag}.after")
    nats.start()
    run = fleet.ended(run_id)
    assert (run["attempt"], run["worker_id"]) == (1, worker.worker_id)
    assert run["tasks"] == {"hold": "SUCCEEDED", "after_hold": "SUCCEEDED"}
    assert len(crew.begun()) == 1
    # And the worker fetches jobs again.
    fleet.ended(crew.submit(flow("quick")))


def test_worker_whose_queue_vanished_makes_it_anew(crew: Crew) -> None:
    fleet = crew.fleet
    crew.hire("only")
    fleet.bus.api(f"CONSUMER.DELETE.PYOCO_WORK.pyoco_workers_{crew.tag}")
    fleet.ended(crew.submit(flow("quick")))


def test_worker_whose_connection_nats_has_ended_for_good_ends_so_that_another_begins(
    crew: Crew, nats: NatsServer
) -> None:
    worker = crew.hire("refused")
    # Who was let in without a password is shown the door, and no client of NATS tries again after that.
    nats.change("authorization { user: somebody, password: else }")
    assert worker.process.wait(PATIENCE_SEC) == 1
    assert "NATS has ended the connection for good" in worker.log
