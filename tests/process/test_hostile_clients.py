"""Many clients at once who mean it badly: memory and threads of the gateway stay as they should."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.process.conftest import Up
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
