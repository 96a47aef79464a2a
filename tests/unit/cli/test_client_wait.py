"""What ``--wait`` prints of a run."""

from __future__ import annotations

import pytest

from pyoco_server.cli.client_wait import run_at_end
from pyoco_server.client.http import PyocoHttpClient
from tests.support.fake_gateway import fake_gateway, json_answer, snapshot_event, stream_answer

STORED = {"status": "CANCELLED", "updated_at": 1.0}
OF_ITS_WORKER = dict.fromkeys(
    ("worker_alive", "worker_state", "worker_heartbeat_at", "worker_hidden", "worker_tags"), "of the worker"
)


@pytest.mark.parametrize("wait_sec", [None, 0.0])
def test_a_run_has_the_same_fields_whether_its_end_or_the_time_to_wait_came_first(wait_sec: float | None) -> None:
    read = {**STORED, **OF_ITS_WORKER, "task_records": {}}
    with fake_gateway() as gateway, PyocoHttpClient(gateway.url) as client:
        gateway.answers = [stream_answer(snapshot_event("CANCELLED", 1.0)) if wait_sec is None else json_answer(read)]
        assert run_at_end(client, "r1", wait_sec) == STORED
