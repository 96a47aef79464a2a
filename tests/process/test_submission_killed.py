"""A gateway that is killed between any two steps of a submission: what it stored is done once, and nothing else is."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.conftest import HELLO_FLOW
from tests.support.nats_proxy import NatsProxy
from tests.support.parts import Parts
from tests.support.plant import Plant
from tests.support.waiting import eventually

#: What a submission stores, in this order: what its key stands for, the flow.yaml, the snapshot, the job.
STREAMS = {
    "key": "KV_pyoco_idempotency",
    "text": "KV_pyoco_workflows",
    "snapshot": "KV_pyoco_runs",
    "job": "PYOCO_WORK",
}


@pytest.fixture
def tag() -> str:
    """A tag of the test's own: the gateway that is killed may sweep what other tests have left, and that is no step."""
    return uuid.uuid4().hex[:8]


@pytest.fixture
def proxy(plant: Plant, tag: str) -> Iterator[NatsProxy]:
    buckets = ("$KV.pyoco_idempotency.", "$KV.pyoco_workflows.", "$KV.pyoco_runs.")
    found = NatsProxy(plant.nats, (*buckets, f"pyoco.work.{tag}"))
    yield found
    found.close()


@pytest.fixture
def parts(plant: Plant) -> Iterator[Parts]:
    with Parts(plant.nats.url) as given:
        yield given


def submit(url: str, tag: str, *, has_key: bool) -> str:
    """Submit a run as a client does; gives its id."""
    headers = {"Idempotency-Key": tag} if has_key else {}
    query = {"flow_name": "main", "tag": tag}
    # Each text is another one, so that none is known.
    answer = requests.post(f"{url}/runs/yaml", params=query, data=f"{HELLO_FLOW}# {tag}", headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def stored_counts(parts: Parts) -> dict[str, int]:
    return {step: int(parts.info(stream)["state"]["messages"]) for step, stream in STREAMS.items()}


@pytest.mark.long
@pytest.mark.parametrize(
    ("done", "has_key"), [*((done, False) for done in range(4)), *((done, True) for done in range(5))]
)
def test_what_a_killed_gateway_has_stored_of_a_submission_is_done_once(
    plant: Plant, proxy: NatsProxy, parts: Parts, tag: str, done: int, has_key: bool
) -> None:
    """So many steps are done, and of the last of them the gateway has heard nothing yet."""
    steps = [step for step in STREAMS if has_key or step != "key"][:done]
    runs_before, jobs_before, counts = parts.keys(), parts.queued_ids(), stored_counts(parts)
    wanted = {step: count + (step in steps) for step, count in counts.items()}
    doomed = plant.start("pyoco-server", "up", "--port", "0", "--nats-url", proxy.url)
    url = doomed.wait_for_log(r"serves at (http://[\d.:]+)", timeout_sec=60)[1]
    proxy.shut_after(done)
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(submit, url, tag, has_key=has_key)
        proxy.wait_until_shut()
        eventually(lambda: stored_counts(parts) == wanted, what=f"{wanted} being stored")
        doomed.kill()
        # On a busy machine it may have said first that NATS does not answer.
        with pytest.raises((requests.ConnectionError, AssertionError)):
            answer.result()
    proxy.open()
    # With a key a client may try again, with another gateway.
    promised = {submit(plant.url, tag, has_key=True) for _ in range(2)} if has_key else set()
    for _ in range(2):
        parts.sweep().sweep(time.time() + 1)
    new_runs = parts.keys() - runs_before
    assert len(new_runs) == (has_key or "snapshot" in steps)
    assert promised <= new_runs
    assert parts.queued_ids() == sorted([*jobs_before, *new_runs])
