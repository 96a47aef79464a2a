"""Workers that ask over HTTP get their tenant's runs alone."""

from __future__ import annotations

import pytest

from tests.integration.conftest import Guarded
from tests.support.gateway import problem
from tests.support.keys import GuardedGateway
from tests.support.parts import Parts
from tests.support.polling import NOTHING, beat, key_header, poll


@pytest.fixture(scope="module")
def keys(guarded: Guarded) -> dict[str, str]:
    """A key for each tenant, and one that may only read."""
    made = {tenant: guarded.keys.make(tenant) for tenant in ("acme", "zeta")}
    made["reader"] = guarded.keys.make("acme", is_read_only=True)
    for key in made.values():
        guarded.gateway.wait_until_known(key)
    return made


def submit(gateway: GuardedGateway, key: str, tag: str) -> str:
    answer = gateway.with_key(key, "POST", "/runs", json={"flow_name": "f", "tag": tag})
    run_id: str = answer.json()["run_id"]
    return run_id


def pending_acks(parts: Parts, tag: str) -> int:
    count: int = parts.bus.api(f"CONSUMER.INFO.PYOCO_WORK.pyoco_workers_{tag}")["num_ack_pending"]
    return count


def test_a_poll_takes_no_job_where_only_other_tenants_have_runs(guarded: Guarded, keys: dict[str, str]) -> None:
    run_id = submit(guarded.gateway, keys["zeta"], "quiet")
    guarded.parts.queue.ensure("quiet")
    for _ in range(3):
        assert poll(guarded.gateway, "quiet", key=keys["acme"]) == NOTHING
    assert pending_acks(guarded.parts, "quiet") == 0
    delivery = guarded.parts.queue.pull("quiet", wait_sec=1)
    assert delivery is not None and delivery.num_delivered == 1
    guarded.parts.queue.deliveries.nak(delivery)
    assert poll(guarded.gateway, "quiet", key=keys["zeta"])["run_id"] == run_id


def test_a_run_behind_those_of_another_tenant_is_found_and_theirs_stay(guarded: Guarded, keys: dict[str, str]) -> None:
    others = submit(guarded.gateway, keys["zeta"], "mixed")
    own = submit(guarded.gateway, keys["acme"], "mixed")
    assert poll(guarded.gateway, "mixed", key=keys["acme"])["run_id"] == own
    assert guarded.gateway.with_key(keys["zeta"], "GET", f"/runs/{others}").json()["status"] == "PENDING"
    assert poll(guarded.gateway, "mixed", key=keys["acme"]) == NOTHING
    # Its job and the one that was handed back, for a while.
    assert pending_acks(guarded.parts, "mixed") == 2


def test_heartbeats_and_logs_are_the_tenants_own(guarded: Guarded, keys: dict[str, str]) -> None:
    run_id = submit(guarded.gateway, keys["acme"], "beats")
    assert poll(guarded.gateway, "beats", key=keys["acme"])["run_id"] == run_id
    body = {"task_states": {}, "run_status": "COMPLETED"}
    path = f"/runs/{run_id}/heartbeat"
    assert problem(guarded.gateway.with_key(keys["zeta"], "POST", path, json=body), 404)["err_id"] == "ERR-PYOCO-0005"
    assert problem(guarded.gateway.with_key(keys["zeta"], "GET", f"/runs/{run_id}/logs"), 404)
    assert guarded.gateway.with_key(keys["acme"], "GET", f"/runs/{run_id}").json()["status"] == "RUNNING"
    assert beat(guarded.gateway, run_id, "COMPLETED", key=keys["acme"], logs=[{"seq": 0, "text": "a"}]) is False
    assert len(guarded.gateway.with_key(keys["reader"], "GET", f"/runs/{run_id}/logs").json()["logs"]) == 1


@pytest.mark.parametrize(("key", "status"), [("reader", 403), (None, 401)])
def test_who_may_not_write_cannot_poll_or_send_heartbeats(
    guarded: Guarded, keys: dict[str, str], key: str | None, status: int
) -> None:
    tag = f"refused-{status}"
    run_id = submit(guarded.gateway, keys["acme"], tag)
    headers = key_header(keys[key] if key else None)
    beat_body = {"task_states": {}, "run_status": "RUNNING"}
    for path, body in (("/workers/poll", {"worker_id": "w", "tags": [tag]}), (f"/runs/{run_id}/heartbeat", beat_body)):
        problem(guarded.gateway.ask("POST", path, json=body, headers=headers), status)
    assert guarded.gateway.with_key(keys["acme"], "GET", f"/runs/{run_id}").json()["status"] == "PENDING"
