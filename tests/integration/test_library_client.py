"""The client on NATS itself, and the resources that it needs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pyoco_server import NatsBackendConfig, PyocoNatsClient, ensure_resources
from pyoco_server.errors import BusUnavailable, IdempotencyKeyReused, InvalidInput, RunNotFound, SnapshotTooLarge
from pyoco_server.library import connection
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer, free_port
from tests.support.parts import Parts


@pytest.fixture(scope="module")
def client(shared: LocalGateway) -> Iterator[PyocoNatsClient]:
    with PyocoNatsClient.connect(shared.config) as connected:
        yield connected


def test_resources_are_made_once(nats: NatsServer) -> None:
    config = NatsBackendConfig.from_env({}, nats_url=nats.url)
    before = set(threading.enumerate())
    assert {"PYOCO_WORK", "PYOCO_DLQ", "KV_pyoco_runs", "OBJ_pyoco_wheels"} <= set(ensure_resources(config))
    assert ensure_resources(config) == []
    assert not set(threading.enumerate()) - before


def test_a_run_is_stored_and_queued_as_a_gateway_does_it(
    client: PyocoNatsClient, shared: LocalGateway, shared_parts: Parts
) -> None:
    told: dict[str, Any] = {"tag": "gpu", "tags": ["a", "b"], "max_attempts": 2, "timeout_sec": 9, "resume": False}
    params = {"x": [1, {"y": None}]}
    run_id, by_gateway = client.submit_run("f", params, **told), shared.submit("f", params=params, **told)
    ours, theirs = client.get_run(run_id), client.get_run(by_gateway)
    own = {"run_id", "origin", "submitted_at", "heartbeat_at", "updated_at"}
    assert {name: ours[name] for name in ours if name not in own} == {n: theirs[n] for n in theirs if n not in own}
    assert own <= ours.keys() and ours.items() >= {"params": params, **told}.items()
    assert {run_id, by_gateway} <= set(shared_parts.queued_ids())
    assert shared.get(f"/runs/{run_id}").json()["tag"] == "gpu"


def test_without_a_tag_a_run_goes_to_the_default_one(client: PyocoNatsClient) -> None:
    run = client.get_run(client.submit_run("f"))
    assert (run["tag"], run["tags"], run["params"]) == ("default", ["default"], {})


def test_an_idempotency_key_stands_for_one_run_whoever_takes_it(client: PyocoNatsClient, shared: LocalGateway) -> None:
    first, again = (client.submit_run("f", {"x": 1}, idempotency_key="nightly") for _ in range(2))
    headers = {"Idempotency-Key": "nightly"}
    by_gateway = shared.ask("POST", "/runs", json={"flow_name": "f", "params": {"x": 1}}, headers=headers).json()
    assert first == again == by_gateway["run_id"]
    with pytest.raises(IdempotencyKeyReused):
        client.submit_run("f", {"x": 2}, idempotency_key="nightly")


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"flow_name": ""}, "run.flow_name"),
        ({"flow_name": "f" * 257}, "run.flow_name"),
        ({"tag": "a.b"}, "run.tag"),
        ({"tags": [""]}, "run.tags.0"),
        ({"max_attempts": 0}, "run.max_attempts"),
        ({"timeout_sec": -1}, "run.timeout_sec"),
        ({"idempotency_key": ""}, "header.Idempotency-Key"),
        ({"params": {"x": float("nan")}}, ""),
        ({"params": {"x": {1, 2}}}, ""),
    ],
)
def test_what_a_gateway_would_refuse_is_refused_here(
    client: PyocoNatsClient, values: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        client.submit_run(**{"flow_name": "f", **values})
    assert [fault.loc for fault in caught.value.faults] == [place] * bool(place)


def test_what_does_not_fit_or_is_not_there_is_told_apart(client: PyocoNatsClient) -> None:
    with pytest.raises(SnapshotTooLarge):
        client.submit_run("f", {"x": "x" * 300_000})
    with pytest.raises(RunNotFound):
        client.get_run("nothing")


def test_without_nats_nothing_is_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SEC", 0.5)
    nowhere = NatsBackendConfig.from_env({}, nats_url=f"nats://127.0.0.1:{free_port()}")
    before = set(threading.enumerate())
    for connect in (PyocoNatsClient.connect, ensure_resources):
        with pytest.raises(BusUnavailable):
            connect(nowhere)
    assert not set(threading.enumerate()) - before
