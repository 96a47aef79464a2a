"""A run of another tenant does not exist for whoever asks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyoco_server.service import Deadline
from pyoco_server.states import RunStatus
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway
from tests.support.keys import GuardedGateway, key_id_of
from tests.support.parts import stored_run
from tests.support.sse import EventStream
from tests.support.waiting import eventually

QUERIES = (
    "",
    "?include=full",
    "?status=PENDING",
    "?status=PENDING&status=FAILED",
    "?flow=main",
    "?tag=default",
    "?q=ma",
    "?created_after=0",
)


@dataclass
class Neighbours:
    """Two tenants with a run each, and a run that has none."""

    gateway: GuardedGateway
    acme: str
    zeta: str
    acme_run: str
    zeta_run: str
    nobodys_run: str


@pytest.fixture(scope="module")
def neighbours(guarded: Guarded) -> Neighbours:
    acme, zeta = guarded.keys.make("acme"), guarded.keys.make("zeta")
    for key in (acme, zeta):
        guarded.gateway.wait_until_known(key)
    nobodys = stored_run("nobodys-run")
    revision = guarded.parts.put("nobodys-run", nobodys)
    assert guarded.gateway.parts.model.wait_for(revision, 5)
    runs = [guarded.gateway.submit_with(key) for key in (acme, zeta)]
    return Neighbours(guarded.gateway, acme, zeta, *runs, "nobodys-run")


def test_a_run_carries_the_tenant_and_the_key_it_was_submitted_with(neighbours: Neighbours, guarded: Guarded) -> None:
    document = neighbours.gateway.with_key(neighbours.acme, "GET", f"/runs/{neighbours.acme_run}").json()
    assert (document["tenant_id"], document["api_key_id"]) == ("acme", key_id_of(neighbours.acme))
    jobs = [job.payload.decode() for job in guarded.parts.jobs() if neighbours.acme_run in job.payload.decode()]
    assert len(jobs) == 1
    assert '"tenant_id": "acme"' in jobs[0] and key_id_of(neighbours.acme) in jobs[0]


def test_a_workflow_carries_the_tenant_too(neighbours: Neighbours) -> None:
    text = "version: 1\ntasks: {a: {callable: 'm:f'}}\nflow: {graph: a}\n"
    path = "/runs/yaml?flow_name=main"
    answer = neighbours.gateway.with_key(neighbours.zeta, "POST", path, data=text)
    run_id = answer.json()["run_id"]
    assert neighbours.gateway.with_key(neighbours.zeta, "GET", f"/runs/{run_id}").json()["tenant_id"] == "zeta"
    assert neighbours.gateway.with_key(neighbours.acme, "GET", f"/runs/{run_id}").status_code == 404


def test_every_run_of_a_batch_carries_the_tenant(neighbours: Neighbours) -> None:
    body = {"runs": [{"flow_name": "batched"}] * 3}
    answer = neighbours.gateway.with_key(neighbours.zeta, "POST", "/runs/batch", json=body)
    assert len(answer.json()["runs"]) == 3
    for key, count in ((neighbours.zeta, 3), (neighbours.acme, 0)):
        assert len(neighbours.gateway.with_key(key, "GET", "/runs?flow=batched").json()) == count


def test_a_cancelled_run_says_by_which_key(neighbours: Neighbours) -> None:
    run_id = neighbours.gateway.submit_with(neighbours.acme)
    path = f"/runs/{run_id}/cancel"
    assert neighbours.gateway.with_key(neighbours.zeta, "POST", path).status_code == 404
    marked = neighbours.gateway.with_key(neighbours.acme, "POST", path).json()
    assert marked["cancel_requested_by"] == f"api_key:{key_id_of(neighbours.acme)}"


def test_another_key_of_the_tenant_sees_the_run(neighbours: Neighbours, guarded: Guarded) -> None:
    key = guarded.keys.make("acme", is_read_only=True)
    guarded.gateway.wait_until_known(key)
    assert guarded.gateway.with_key(key, "GET", f"/runs/{neighbours.acme_run}").status_code == 200


def test_every_route_of_a_run_answers_404_for_another_tenants_run_as_for_one_that_does_not_exist(
    neighbours: Neighbours,
) -> None:
    rules = [rule for rule in neighbours.gateway.url_map.iter_rules() if "run_id" in rule.arguments]
    assert len(rules) >= 3
    for rule in rules:
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            answers = []
            for run_id in (neighbours.zeta_run, neighbours.nobodys_run, "no-such-run"):
                path = rule.rule.replace("<run_id>", run_id).replace("<", "").replace(">", "")
                answer = neighbours.gateway.with_key(neighbours.acme, method, path)
                assert answer.status_code == 404 and "ERR-PYOCO-0005" in answer.text, f"{method} {path}"
                answers.append(answer.text.replace(run_id, "…"))
            assert len(set(answers)) == 1


def test_every_route_below_a_run_names_it_so_that_it_is_guarded(neighbours: Neighbours) -> None:
    for rule in neighbours.gateway.url_map.iter_rules():
        _, is_below, rest = rule.rule.partition("/runs/<")
        assert not is_below or rest.startswith("run_id>"), rule.rule


def test_lists_pages_and_full_lists_hold_the_callers_runs_alone(neighbours: Neighbours) -> None:
    for key, tenant in ((neighbours.acme, "acme"), (neighbours.zeta, "zeta")):
        for query in QUERIES:
            found = neighbours.gateway.with_key(key, "GET", f"/runs{query}").json()
            assert found and {run["tenant_id"] for run in found} == {tenant}, query


def test_a_cursor_leads_through_the_callers_runs_alone(neighbours: Neighbours) -> None:
    for _ in range(3):
        neighbours.gateway.submit_with(neighbours.zeta, "paged")
        neighbours.gateway.submit_with(neighbours.acme, "paged")
    path, seen = "/runs?flow=paged&limit=2&updated_after=0", []
    page = neighbours.gateway.with_key(neighbours.zeta, "GET", path).json()
    seen += page["items"]
    page = neighbours.gateway.with_key(neighbours.zeta, "GET", f"{path}&cursor={page['next_cursor']}").json()
    seen += page["items"]
    assert page["next_cursor"] is None
    assert [run["tenant_id"] for run in seen] == ["zeta"] * 3
    # What another tenant's cursor shows is a place in one's own list.
    first = neighbours.gateway.with_key(neighbours.zeta, "GET", path).json()
    other = neighbours.gateway.with_key(neighbours.acme, "GET", f"{path}&cursor={first['next_cursor']}").json()
    assert {run["tenant_id"] for run in other["items"]} == {"acme"}


def test_a_run_that_no_list_has_heard_of_yet_is_found_by_its_tenant_alone(neighbours: Neighbours) -> None:
    run_id = neighbours.gateway.submit_with(neighbours.acme)
    neighbours.gateway.parts.model.withdraw(run_id, neighbours.gateway.parts.runs.get(run_id).revision)
    path = f"/runs/{run_id}"
    assert neighbours.gateway.with_key(neighbours.acme, "GET", path).status_code == 200
    assert neighbours.gateway.with_key(neighbours.zeta, "GET", path).status_code == 404


def test_a_watch_ends_soon_after_its_key_is_revoked_and_others_go_on(neighbours: Neighbours, guarded: Guarded) -> None:
    key = guarded.keys.make("acme")
    guarded.gateway.wait_until_known(key)
    path = f"/runs/{neighbours.acme_run}/watch?timeout_sec=30"
    with (
        EventStream(guarded.gateway.port, path, {"X-API-Key": key}) as revoked,
        EventStream(guarded.gateway.port, path, {"X-API-Key": neighbours.acme}) as other,
    ):
        pieces, others = revoked.pieces(), other.pieces()
        assert next(pieces).name == next(others).name == "snapshot"
        began = time.monotonic()
        guarded.keys.revoke(key)
        assert all(piece.name == "comment" for piece in pieces)
        assert time.monotonic() - began < 1
        assert next(others).name == "comment"


def test_a_watch_ends_when_its_key_expires(neighbours: Neighbours, guarded: Guarded) -> None:
    expires_at = time.time() + 1.5
    key = guarded.keys.make("acme", expires_at=expires_at)
    guarded.gateway.wait_until_known(key)
    path = f"/runs/{neighbours.acme_run}/watch?timeout_sec=30"
    with EventStream(guarded.gateway.port, path, {"X-API-Key": key}) as stream:
        assert len(list(stream.snapshots())) == 1
    assert expires_at <= time.time() < expires_at + 3


def test_a_gateway_that_asks_for_no_keys_shows_the_runs_of_all_tenants(
    neighbours: Neighbours, guarded: Guarded
) -> None:
    gateway = LocalGateway(guarded.nats)
    try:
        gateway.wait_until_complete()
        shown = {run["run_id"] for run in gateway.get("/runs?limit=200").json()}
        assert {neighbours.acme_run, neighbours.zeta_run, neighbours.nobodys_run} <= shown
        assert gateway.get(f"/runs/{neighbours.zeta_run}").status_code == 200
    finally:
        gateway.stop()


def test_a_watch_gives_nothing_new_while_a_revocation_may_have_been_missed(guarded: Guarded) -> None:
    gateway = GuardedGateway(guarded.nats)
    try:
        key = guarded.keys.make("acme")
        gateway.wait_until_known(key)
        run_id = gateway.submit_with(key)
        with EventStream(gateway.port, f"/runs/{run_id}/watch?timeout_sec=30", {"X-API-Key": key}) as stream:
            pieces = stream.pieces()
            assert next(pieces).data["snapshot"]["status"] == "PENDING"
            (follower,) = [one for one in gateway.parts.model._followers if one.name.endswith("KV_pyoco_auth")]
            assert follower.stop(Deadline(5))
            guarded.parts.change(run_id, status=RunStatus.RUNNING)
            eventually(lambda: gateway.knows(run_id, "RUNNING"), what="the model being told")
            assert gateway.with_key(key, "GET", "/runs").status_code == 503
            assert next(pieces).name == "comment"
            # As the follower does when it has caught up again.
            gateway.parts.model.keys.set_complete(True)
            began = time.monotonic()
            assert next(pieces).data["snapshot"]["status"] == "RUNNING"
            assert time.monotonic() - began < 1
    finally:
        gateway.stop()


def test_a_file_of_the_read_model_is_made_anew_when_keys_begin_to_be_asked_for(
    neighbours: Neighbours, guarded: Guarded, tmp_path: Path
) -> None:
    path = str(tmp_path / "model.sqlite")
    open_to_all = LocalGateway(guarded.nats, PYOCO_READ_MODEL_PATH=path)
    open_to_all.wait_until_complete()
    open_to_all.stop()
    gateway = GuardedGateway(guarded.nats, PYOCO_READ_MODEL_PATH=path)
    try:
        shown = gateway.with_key(neighbours.acme, "GET", "/runs").json()
        assert neighbours.acme_run in {run["run_id"] for run in shown}
        assert {run["tenant_id"] for run in shown} == {"acme"}
    finally:
        gateway.stop()
