"""``Idempotency-Key``: a submission that is sent again is the run of the first time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from pyoco_server.errors import BusUnavailable
from pyoco_server.operations.authenticate import ANYBODY
from pyoco_server.operations.submit import RunRequest
from tests.conftest import HELLO_FLOW
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.parts import Parts

YAML = "/runs/yaml?flow_name=main&tag=gpu"


def post(gateway: LocalGateway, key: str, path: str = "/runs", **request: Any) -> requests.Response:
    if path == "/runs":
        request = {"json": {"flow_name": "main", "params": {"x": 1}, **request.get("json", {})}}
    return gateway.ask("POST", path, headers={"Idempotency-Key": key}, **request)


@pytest.mark.parametrize(("path", "request_"), [("/runs", {}), (YAML, {"data": HELLO_FLOW})])
def test_the_same_request_again_gives_the_run_of_the_first_time(
    shared: LocalGateway, shared_parts: Parts, path: str, request_: dict[str, Any]
) -> None:
    before = set(shared_parts.queued_ids())
    first, second = (post(shared, f"again {path}", path, **request_) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert [answer.headers.get("Idempotent-Replayed") for answer in (first, second)] == [None, "true"]
    assert set(shared_parts.queued_ids()) - before == {first.json()["run_id"]}


def test_a_form_is_the_same_request_whatever_its_boundary(shared: LocalGateway) -> None:
    run_ids = set()
    for _ in range(2):
        form = {"files": {"workflow": ("flow.yaml", HELLO_FLOW)}, "data": {"flow_name": "main", "tag": "gpu"}}
        run_ids.add(post(shared, "form", "/runs/yaml", **form).json()["run_id"])
    run_ids.add(post(shared, "form", YAML, data=HELLO_FLOW).json()["run_id"])
    assert len(run_ids) == 1


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/runs", {"json": {"params": {"x": 2}}}),
        ("/runs", {"json": {"flow_name": "other"}}),
        ("/runs", {"json": {"tag": "gpu"}}),
        ("/runs", {"json": {"tags": ["a"]}}),
        (YAML, {"data": HELLO_FLOW}),
    ],
)
def test_another_request_with_the_same_key_is_refused(shared: LocalGateway, path: str, other: dict[str, Any]) -> None:
    assert post(shared, "taken").status_code == 200
    answer = post(shared, "taken", path, **other)
    assert fault_places(answer, "ERR-PYOCO-0002") == ["header.Idempotency-Key"]


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9".encode().decode("latin-1"), "a\tb"])
def test_what_is_no_key_is_refused(shared: LocalGateway, key: str) -> None:
    head = f"POST /runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIdempotency-Key: {key}\r\n"
    body = b'{"flow_name": "main"}'
    answer = shared.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body)
    assert answer.startswith(b"HTTP/1.1 422"), answer
    assert b"header.Idempotency-Key" in answer


def test_an_invalid_request_does_not_use_up_its_key(shared: LocalGateway) -> None:
    assert post(shared, "fresh", json={"tag": "no tag"}).status_code == 422
    assert post(shared, "fresh").status_code == 200


def test_twenty_clients_at_once_with_one_key_make_one_run(shared: LocalGateway, shared_parts: Parts) -> None:
    before, jobs = shared_parts.keys(), set(shared_parts.queued_ids())

    def send(_: int) -> tuple[int, str]:
        body = {"flow_name": "main", "params": {"x": 1}}
        answer = requests.post(f"{shared.url}/runs", json=body, headers={"Idempotency-Key": "crowd"}, timeout=10)
        return answer.status_code, answer.json()["run_id"]

    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(send, range(20)))
    ((status, run_id),) = answers
    assert status == 200
    assert shared_parts.keys() - before == {run_id}
    assert sorted(set(shared_parts.queued_ids()) - jobs) == [run_id]


def test_a_key_belongs_to_its_tenant(guarded: Guarded) -> None:
    acme, zeta, acme_too = (guarded.keys.make(tenant) for tenant in ("acme", "zeta", "acme"))
    for key in (acme, zeta, acme_too):
        guarded.gateway.wait_until_known(key)

    def submit(api_key: str, flow_name: str) -> requests.Response:
        headers = {"Idempotency-Key": "daily"}
        return guarded.gateway.with_key(api_key, "POST", "/runs", json={"flow_name": flow_name}, headers=headers)

    ours, theirs, ours_again = submit(acme, "a"), submit(zeta, "b"), submit(acme_too, "a")
    assert ours.json() == ours_again.json()
    assert ours.json()["run_id"] != theirs.json()["run_id"]
    assert submit(zeta, "a").status_code == 422


class _Killed(BaseException):
    """The gateway's end."""


@pytest.mark.parametrize("after", ["the key", "the snapshot"])
def test_what_a_gateway_left_half_done_is_completed_by_whoever_sends_the_key_again(
    nats: Any, parts: Parts, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = RunRequest(ANYBODY, "main", "gpu", ["gpu"], {"x": 1})

    def end(groups: Any) -> Any:
        if after == "the snapshot":
            parts.bus.write(groups[0][0])
        raise _Killed

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(parts.bus, "write_each", end)
        parts.submission().submit_once(request, "k")
    assert len(parts.keys("pyoco_idempotency")) == 1
    assert len(parts.keys()) == (after == "the snapshot")
    again = [parts.submission().submit_once(request, "k") for _ in range(2)]
    assert {submitted.run_id for submitted in again} == parts.keys()
    assert [submitted.is_repeated for submitted in again] == [after == "the snapshot", True]
    # Of a stored run without a job the sweep takes care.
    parts.sweep().sweep(parts.snapshot(again[0].run_id)["updated_at"] + 60)
    assert parts.queued_ids() == [again[0].run_id]


def test_a_keyed_run_whose_job_is_refused_stays_and_is_queued_later(local: LocalGateway, parts: Parts) -> None:
    parts.configure("PYOCO_WORK", subjects=["pyoco.elsewhere.>"])
    run_id = problem(post(local, "k"), 503)["run_id"]
    assert post(local, "k").json()["run_id"] == run_id
    parts.configure("PYOCO_WORK", subjects=["pyoco.work.>"])
    assert parts.model.is_complete
    parts.sweep().sweep(parts.snapshot(run_id)["updated_at"] + 60)
    assert parts.queued_ids() == [run_id]


def test_keys_are_bounded_in_age_and_size(shared_parts: Parts) -> None:
    settings = shared_parts.info("KV_pyoco_idempotency")["config"]
    assert (settings["max_age"], settings["max_bytes"], settings["discard"]) == (604_800 * 10**9, 67_108_864, "old")


def test_without_nats_nothing_is_decided(local: LocalGateway, nats: Any) -> None:
    nats.stop()
    assert problem(post(local, "k"), 503)["err_id"] == BusUnavailable.err_id
    nats.start()
