"""What a worker tells over HTTP about itself."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.commands import Daemon, reason, run
from tests.support.descriptors import check_that_it_waits_without_descriptors
from tests.support.documents import DOCS, section, table
from tests.support.fleet import TAG, Fleet, flow
from tests.support.nats import NatsServer, free_port
from tests.support.promlint import criticised
from tests.support.waiting import PATIENCE_SEC, eventually


class Telling:
    """A worker with a health address."""

    def __init__(self, start: Callable[..., Daemon], nats_url: str) -> None:
        self.port = free_port()
        address = f"127.0.0.1:{self.port}"
        self.url = f"http://{address}"
        self.daemon = start("pyoco-worker", "--nats-url", nats_url, "--tags", TAG, "--health-listen", address)

    def ask(self, path: str, method: str = "GET") -> requests.Response:
        return requests.request(method, f"{self.url}{path}", timeout=30)

    def wait_for(self, status: int, path: str = "/ready") -> requests.Response:
        def look() -> requests.Response | None:
            with contextlib.suppress(requests.ConnectionError):
                answer = self.ask(path)
                # A refusal counts as false.
                return [answer] if answer.status_code == status else None
            return None

        return eventually(look, what=f"{status} of {path}", timeout_sec=PATIENCE_SEC)[0]


@pytest.fixture
def worker(start: Callable[..., Daemon], nats: NatsServer) -> Iterator[Telling]:
    yield Telling(start, nats.url)


def test_a_worker_is_ready_while_it_takes_runs(worker: Telling, nats: NatsServer, fleet: Fleet) -> None:
    ready = worker.wait_for(200).json()
    assert ready == {
        "status": "ready",
        "nats": {"connected": True, "last_error": None},
        "slots": {"total": 1, "busy": 0},
        "draining": False,
    }
    nats.stop(signal.SIGKILL)
    away = worker.wait_for(503)
    assert away.headers["Retry-After"] == "1" and away.json()["nats"]["connected"] is False
    # It lives, for all that.
    assert worker.ask("/health").json() == {"status": "ok"}
    nats.start()
    worker.wait_for(200)
    run_id = fleet.submit(flow("hold"))
    fleet.running(run_id, "hold")
    assert worker.ask("/ready").json()["slots"] == {"total": 1, "busy": 1}
    worker.daemon.process.send_signal(signal.SIGTERM)
    draining = worker.wait_for(503).json()
    assert (draining["draining"], draining["nats"]["connected"]) == (True, True)
    fleet.touch("go")
    assert worker.daemon.process.wait(PATIENCE_SEC) == 0


def test_a_worker_that_waits_for_nats_lives_and_is_not_ready(start: Callable[..., Daemon]) -> None:
    worker = Telling(start, f"nats://127.0.0.1:{free_port()}")
    assert worker.wait_for(200, "/health").json() == {"status": "ok"}
    assert worker.ask("/ready").status_code == 503


def test_its_metrics_count_what_has_ended_and_are_as_prometheus_has_them(worker: Telling, fleet: Fleet) -> None:
    worker.wait_for(200)
    fleet.ended(fleet.submit(flow("quick")))
    fleet.ended(fleet.submit(flow("fail")), "FAILED")
    eventually(lambda: worker.ask("/ready").json()["slots"]["busy"] == 0, what="an idle worker")
    answer = worker.ask("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert list(criticised(text_string_to_metric_families(answer.text))) == []
    lines = answer.text.splitlines()
    for line in (
        'pyoco_worker_runs_total{status="CANCELLED"} 0',
        'pyoco_worker_runs_total{status="COMPLETED"} 1',
        'pyoco_worker_runs_total{status="FAILED"} 1',
        "pyoco_worker_slots 1",
        "pyoco_worker_slots_busy 0",
        "pyoco_worker_ready 1",
    ):
        assert line in lines
    told = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE ")}
    documented = table(section((DOCS / "metrics.md").read_text(), "## Of each worker"), "name")
    assert told == {row["name"]: row["kind"] for row in documented}


def test_other_requests_are_refused(worker: Telling) -> None:
    worker.wait_for(200, "/health")
    assert worker.ask("/").status_code == 404
    refused = worker.ask("/ready", "POST")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    assert refused.headers["Content-Type"] == "application/problem+json"
    head = worker.ask("/ready", "HEAD")
    assert (head.status_code, head.content) == (worker.ask("/ready").status_code, b"")
    assert worker.ask("/health?verbose=1").status_code == 200


@pytest.mark.long
def test_clients_that_say_nothing_keep_nobody_else_out(worker: Telling) -> None:
    worker.wait_for(200)
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", worker.port), timeout=30)) for _ in range(100)
        ]
        for number, connection in enumerate(silent):
            connection.send(b"GET /ready"[: number % 11])
        assert worker.ask("/ready").status_code == 200
        for connection in silent:
            # They are told nothing, and are shown the door.
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
    worker_lives = worker.ask("/health").status_code == 200
    assert worker_lives


def test_a_worker_without_descriptors_waits_for_one_and_keeps_no_processor_busy(worker: Telling) -> None:
    worker.wait_for(200)
    check_that_it_waits_without_descriptors(worker.daemon.process.pid, worker.port)


def test_an_address_that_is_in_use_or_none_is_refused(nats: NatsServer, tmp_path: object) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("pyoco-worker", "--nats-url", nats.url, "--health-listen", address, cwd=tmp_path)
    assert done.returncode == 1 and f"cannot tell its health at {address}" in reason(done.stderr)
    for address in ("8081", "127.0.0.1:", "n1:99999", "http://n1:80"):
        done = run("pyoco-worker", "--nats-url", nats.url, "--health-listen", address, cwd=tmp_path)
        assert done.returncode == 1 and "--health-listen" in reason(done.stderr)
