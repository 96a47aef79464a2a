"""Many clients at once who mean it badly: the gateway serves others, and keeps its memory and threads."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.process.conftest import Up
from tests.support.descriptors import check_that_it_waits_without_descriptors
from tests.support.processes import memory_bytes, peak_bytes, status_of
from tests.support.waiting import eventually

#: As large as a batch may be, and many times that when it is read.
BATCH = b'{"runs": [' + b"{}," * 3_000_000 + b"1]}"
#: One of them takes 250 MB; the gateway itself takes 70.
MAX_GROWTH_BYTES = 900_000_000
CLIENTS = 6


@pytest.mark.long
def test_clients_who_send_the_largest_body_at_once_do_not_fill_the_memory(up: Up) -> None:
    pid = up.serve("up").process.pid
    assert requests.post(f"{up.url}/runs", json={"flow_name": "f"}, timeout=30).status_code == 200
    memory, threads = memory_bytes(pid), status_of(pid, "Threads")
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(
            clients.map(lambda _: requests.post(f"{up.url}/runs/batch", data=BATCH, timeout=120), range(CLIENTS))
        )
    assert {answer.status_code for answer in answers} <= {422, 503}
    assert 422 in {answer.status_code for answer in answers}
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 503)
    assert peak_bytes(pid) - memory < MAX_GROWTH_BYTES
    # Its pool begins a thread only when a request finds all others at work.
    eventually(lambda: status_of(pid, "Threads") <= threads + CLIENTS, what="no threads but those of the pool")
    assert requests.post(f"{up.url}/runs", json={"flow_name": "f"}, timeout=30).status_code == 200


@pytest.mark.long
def test_a_gateway_without_descriptors_closes_the_slowest_and_keeps_no_processor_busy(up: Up) -> None:
    daemon = up.serve("up")
    pid = daemon.process.pid
    assert requests.get(f"{up.url}/health", timeout=30).ok
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # Three for each of the connections that it takes.
    assert limits[0] >= min(3 * 742, limits[1])
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 20, limits[1]))
    with contextlib.ExitStack() as clients:
        for _ in range(100):
            silent = clients.enter_context(socket.create_connection(("127.0.0.1", up.port), timeout=30))
            silent.sendall(b"GET /hea")
        assert requests.get(f"{up.url}/health", timeout=30).ok
        daemon.wait_for_log(r"this machine allows no more than the \d+ connections")
        # When the silent ones are closed nobody is left who could make room.
        check_that_it_waits_without_descriptors(pid, up.port)
