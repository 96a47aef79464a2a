"""``/dead-letters``: list, read, replay, remove."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.contract import deadletters
from pyoco_server.operations import dead_letters
from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.conftest import HELLO_FLOW
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway, fault_places, problem
from tests.support.office import Office
from tests.support.parts import Parts


@pytest.fixture
def office(shared: LocalGateway, shared_parts: Parts) -> Office:
    return Office(shared, shared_parts)


def test_a_letter_is_shown_as_it_was_published(office: Office) -> None:
    seq = office.fail(flow_name="nightly")
    letter = office.gateway.get(f"/dead-letters/{seq}").json()
    assert letter["seq"] == seq
    wanted = ("execution_error", "it broke", "nightly", office.tag, ["a"])
    assert tuple(letter[name] for name in ("reason", "error", "flow_name", "tag", "tags")) == wanted
    assert "payload" not in letter
    page = office.gateway.get("/dead-letters", params={"tag": office.tag}).json()
    assert page == {"items": [letter], "next_cursor": None}


@pytest.mark.parametrize("path", ["0", "999999999", "18446744073709551616", "x"])
def test_a_number_that_no_letter_has_is_404(office: Office, path: str) -> None:
    assert problem(office.gateway.get(f"/dead-letters/{path}"), 404)
    assert problem(office.post(f"{path}/replay"), 404)
    assert problem(office.delete(f"/{path}"), 404)


def test_a_list_is_newest_first_in_pages_and_by_reason(office: Office) -> None:
    reasons = itertools.cycle(["execution_error", "worker_process_died", "execution_error"])
    seqs = [office.fail(reason=next(reasons), is_kept=False) for _ in range(7)]
    newest = seqs[::-1]
    assert office.seqs() == newest
    assert office.pages(limit=3) == [newest[:3], newest[3:6], newest[6:]]
    assert office.seqs(reason="worker_process_died") == [seqs[4], seqs[1]]
    assert office.pages(limit=1, reason="worker_process_died") == [[seqs[4]], [seqs[1]]]
    assert office.seqs(reason="none") == []


def test_a_list_goes_over_gaps_and_what_is_no_letter(office: Office) -> None:
    old = office.fail(is_kept=False)
    subject = f"pyoco.dlq.{office.tag}"
    junk = office.parts.bus.write(*(Write(subject, payload) for payload in (b"{", b"[]", b'{"reason": 1}') * 100))
    for seq in junk[3:]:
        office.parts.dead_letters.remove(seq)
    new = office.fail(is_kept=False)
    assert new - old == 301
    assert office.seqs() == [new, old]
    assert problem(office.gateway.get(f"/dead-letters/{junk[0]}"), 404)


def test_a_page_looks_at_so_many_letters_and_no_more(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "_MAX_LOOKED_AT", 2)
    seqs = [office.fail(is_kept=False, reason="a" if index == 0 else "b") for index in range(6)]
    assert office.pages(reason="a") == [[], [], [seqs[0]]]


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"limit": "0"}, "query.limit"),
        ({"limit": "201"}, "query.limit"),
        ({"tag": "a.b"}, "query.tag"),
        ({"reason": "x" * 200}, "query.reason"),
        ({"cursor": "x"}, "query.cursor"),
        ({"cursor": "1-2"}, "query.cursor"),
    ],
)
def test_a_query_out_of_range_is_refused(office: Office, query: dict[str, str], place: str) -> None:
    assert fault_places(office.gateway.get("/dead-letters", params=query), "ERR-PYOCO-0017") == [place]


@pytest.mark.parametrize("is_yaml", [False, True], ids=["name", "yaml"])
def test_a_replay_is_a_new_run_like_the_failed_one_and_takes_the_letter_away(office: Office, is_yaml: bool) -> None:
    fields: dict[str, Any] = {"params": {"x": 7}, "tenant_id": "acme"}
    if is_yaml:
        workflow = parse_workflow(HELLO_FLOW)
        office.parts.workflows.keep(workflow.sha256, workflow.text)
        fields.update(workflow_yaml_sha256=workflow.sha256, workflow_yaml_bytes=workflow.size_bytes)
    seq = office.fail(**fields)
    failed = office.gateway.get(f"/dead-letters/{seq}").json()["run_id"]
    answer = office.post(f"{seq}/replay")
    assert answer.status_code == 200, answer.text
    run_id = answer.json()["run_id"]
    assert answer.json() == {"seq": seq, "run_id": run_id, "status": "PENDING"}
    assert office.jobs() == [run_id] != [failed]
    run = office.parts.snapshot(run_id)
    for name in ("flow_name", "tag", "tags", "params", "tenant_id"):
        assert run[name] == office.parts.snapshot(failed)[name]
    assert (run.get("workflow_yaml_sha256") is not None) == is_yaml
    assert run["replay_of"] == failed
    assert office.seqs() == []
    assert problem(office.post(f"{seq}/replay"), 404)["err_id"] == "ERR-PYOCO-0025"


def test_of_replays_at_once_one_makes_the_run_and_the_others_are_told_so(office: Office) -> None:
    seq = office.fail()
    with ThreadPoolExecutor(8) as pool:
        url = f"{office.gateway.url}/dead-letters/{seq}/replay"
        answers = list(pool.map(lambda _: requests.post(url, timeout=10), range(8)))
    accepted = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 404}
    assert len({answer.json()["run_id"] for answer in accepted}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in accepted].count(None) == 1
    assert len(office.jobs()) == 1


def test_a_replay_whose_gateway_ended_before_the_letter_was_gone_is_the_same_run_again(office: Office) -> None:
    office.parts.configure("PYOCO_DLQ", deny_delete=True)
    try:
        seq = office.fail()
        assert office.post(f"{seq}/replay").status_code == 503
        assert office.seqs() == [seq]
        assert office.post(f"{seq}/replay").status_code == 503
        assert len(office.jobs()) == 1
    finally:
        # What is denied once cannot be allowed again.
        office.parts.bus.api("STREAM.DELETE.PYOCO_DLQ")
        ensure_resources(office.parts.bus, office.parts.config)


@pytest.mark.parametrize("lacks", ["run", "workflow", "readable job"])
def test_what_cannot_be_replayed_is_409_and_stays(office: Office, lacks: str) -> None:
    if lacks == "run":
        seq = office.fail(is_kept=False)
    elif lacks == "workflow":
        seq = office.fail(workflow_yaml_sha256="0" * 64, workflow_yaml_bytes=10)
    else:
        seq = office.fail(reason=deadletters.INVALID_JOB)
    document = problem(office.post(f"{seq}/replay"), 409)
    assert document["err_id"] == "ERR-PYOCO-0026"
    assert office.seqs() == [seq] and office.jobs() == []


def test_all_that_match_are_replayed_and_each_that_is_not_says_why(office: Office) -> None:
    good = [office.fail(), office.fail()]
    bad = office.fail(is_kept=False)
    other = office.fail(reason="worker_process_died")
    answer = office.post("replay", tag=office.tag, reason="execution_error").json()
    assert [item["seq"] for item in answer["replayed"]] == good
    assert sorted(item["run_id"] for item in answer["replayed"]) == office.jobs()
    ((refused,), cursor) = answer["refused"], answer["next_cursor"]
    assert (refused["seq"], refused["status"], cursor) == (bad, 409, None)
    assert office.seqs() == [other, bad]


@pytest.mark.parametrize("verb", ["replay", "remove"])
def test_many_letters_take_several_requests_and_none_that_came_later(
    office: Office, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seqs = [office.fail() for _ in range(3)]
    call = office.delete if verb == "remove" else lambda **query: office.post("replay", **query)
    monkeypatch.setattr(dead_letters, "_SLICE_SEC", 0.0)
    begun = call(tag=office.tag).json()
    assert begun["next_cursor"] == f"{seqs[0]}-{seqs[2]}"
    monkeypatch.undo()
    later = office.fail()
    ended = call(tag=office.tag, cursor=begun["next_cursor"]).json()
    assert ended["next_cursor"] is None
    assert ended["deleted"] == 3 if verb == "remove" else [item["seq"] for item in ended["replayed"]] == seqs
    assert office.seqs() == [later]


@pytest.mark.parametrize("verb", ["replay", "remove"])
def test_an_operation_on_all_letters_must_say_so(office: Office, verb: str) -> None:
    seq = office.fail()
    call = office.delete if verb == "remove" else lambda **query: office.post("replay", **query)
    assert fault_places(call(reasn="x"), "ERR-PYOCO-0017") == ["query"]
    assert office.seqs() == [seq]
    assert call(all="true").status_code == 200
    assert office.seqs() == []


def test_one_letter_is_removed(office: Office) -> None:
    first, second = office.fail(), office.fail()
    assert office.delete(f"/{first}").json() == {"seq": first, "deleted": True}
    assert office.seqs() == [second]
    assert office.jobs() == []


def test_letters_of_another_tenant_do_not_exist(guarded: Guarded) -> None:
    office = Office(guarded.gateway, guarded.parts)
    acme, zeta = (guarded.keys.make(tenant) for tenant in ("acme", "zeta"))
    for key in (acme, zeta):
        guarded.gateway.wait_until_known(key)
    ours, theirs, nobodys = (office.fail(tenant_id=tenant) for tenant in ("acme", "zeta", None))

    def ask(method: str, path: str, **query: Any) -> requests.Response:
        return guarded.gateway.with_key(acme, method, f"/dead-letters{path}", params=query)

    assert [item["seq"] for item in ask("GET", "").json()["items"]] == [ours]
    for seq in (theirs, nobodys):
        for method, path in (("GET", f"/{seq}"), ("DELETE", f"/{seq}"), ("POST", f"/{seq}/replay")):
            assert problem(ask(method, path), 404)
    replayed = ask("POST", "/replay", all="true").json()["replayed"]
    assert [item["seq"] for item in replayed] == [ours]
    run = guarded.parts.snapshot(replayed[0]["run_id"])
    assert run["tenant_id"] == "acme"
    assert ask("DELETE", "", all="true").json()["deleted"] == 0
    left = guarded.gateway.with_key(zeta, "GET", "/dead-letters").json()["items"]
    assert [item["seq"] for item in left] == [theirs]
