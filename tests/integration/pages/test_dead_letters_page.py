"""The page of dead letters: read, filter, replay, remove."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import requests

from pyoco_server.bridge.messages import Write
from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.operations import dead_letters
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway
from tests.support.office import Office
from tests.support.pages import LONG, ODD, SCRIPT, Page, read, visit
from tests.support.parts import Parts

OWN = {"Sec-Fetch-Site": "same-origin"}
PATH = "/ui/dead-letters"


@pytest.fixture
def office(shared: LocalGateway, shared_parts: Parts) -> Office:
    return Office(shared, shared_parts)


def _post(office: Office, action: str, headers: dict[str, str] = OWN, **fields: Any) -> requests.Response:
    path = f"{PATH}/{action}" if action else PATH
    return office.gateway.ask("POST", path, data=fields, headers=headers, allow_redirects=False)


def _picks(page: Page) -> list[int]:
    return [int(box.attributes["value"]) for box in page.all("input", name="seq")]


def test_letters_are_read_newest_first_and_by_reason_and_tag(office: Office) -> None:
    failed, late = office.fail(), office.fail(reason="timeout", flow_name="slow")
    page = visit(office.gateway, f"{PATH}?tag={office.tag}")
    assert page.heading == f"Dead letters: tag {office.tag}" and "kept 7 d" in page.words
    assert PATH in [link.attributes["href"] for link in page.all("a") if link.words == "Reset"]
    assert _picks(page) == [late, failed]
    assert "Over its time limit timeout" in page.words and "it broke" in page.words and "slow" in page.words
    (link,) = [link for link in page.links() if link.startswith(PATH) and "reason=timeout" in link]
    assert _picks(visit(office.gateway, link)) == [late]
    assert visit(office.gateway, link).heading == f"Dead letters: Over its time limit · tag {office.tag}"
    everything = visit(office.gateway, PATH)
    assert re.fullmatch(r"Dead letters: \d+ jobs that could not be done", everything.heading)
    assert "Reset" not in everything.words
    empty = visit(office.gateway, f"{PATH}?tag={office.tag}&reason=invalid_job", lang="ja")
    assert "該当するデッドレターはありません" in empty.words
    assert "query.tag" in visit(office.gateway, f"{PATH}?tag=a+b", status=422).words


def test_more_letters_than_a_page_has_are_paged(office: Office) -> None:
    seqs = [office.fail(is_kept=False) for _ in range(60)][::-1]
    first = visit(office.gateway, f"{PATH}?tag={office.tag}")
    (older,) = [link.attributes["href"] for link in first.all("a", rel="next")]
    assert _picks(first) + _picks(visit(office.gateway, older)) == seqs


def test_a_page_on_which_none_matches_leads_to_older_ones_and_to_all_that_match(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = office.fail(reason="timeout")
    for _ in range(4):
        office.fail()
    monkeypatch.setattr(dead_letters, "_MAX_LOOKED_AT", 3)
    page = visit(office.gateway, f"{PATH}?tag={office.tag}&reason=timeout")
    assert _picks(page) == [] and "None among the letters of this page" in page.words
    assert "Replay all that match" in page.one("section", aria_labelledby="all").words
    (older,) = [link.attributes["href"] for link in page.all("a", rel="next")]
    assert _picks(visit(office.gateway, older)) == [wanted]
    last = visit(office.gateway, f"{PATH}?tag={office.tag}&reason=invalid_job&cursor={wanted}", lang="ja")
    assert not last.all("section", aria_labelledby="all") and "該当するデッドレターはありません" in last.words


def test_ticked_letters_are_replayed_once_and_refusals_have_their_reason(office: Office) -> None:
    seqs = [office.fail(), office.fail(), office.fail(is_kept=False), office.fail()]
    fields = {"seq": seqs[:3], "back": f"tag={office.tag}"}
    shown = read(_post(office, "replay", **fields))
    assert shown.heading == "2 runs were submitted again"
    assert "One was not" in shown.words and f"dead letter {seqs[2]} is not kept any more" in shown.words
    assert f"{PATH}?tag={office.tag}" in shown.links()
    new = {link.rpartition("/")[2] for link in shown.links() if link.startswith("/ui/runs/")}
    assert set(office.jobs()) == new and len(new) == 2
    assert read(_post(office, "replay", **fields)).heading == "0 runs were submitted again"
    assert set(office.jobs()) == new
    assert office.seqs() == [seqs[3], seqs[2]]


def test_ticked_letters_are_removed(office: Office) -> None:
    seqs = [office.fail() for _ in range(3)]
    for _ in range(2):
        answer = _post(office, "remove", seq=seqs[:2], back=f"tag={office.tag}")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"{PATH}?tag={office.tag}")
    assert office.seqs() == seqs[2:]


def test_all_that_match_are_replayed_and_removed_in_as_many_steps_as_it_takes(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reason in ("timeout", "timeout", "timeout", "execution_error"):
        office.fail(reason=reason)
    monkeypatch.setattr(dead_letters, "_SLICE_SEC", 0.0)
    for action, reason, heading in (("replay", "timeout", "submitted again"), ("remove", "", "removed")):
        page = visit(office.gateway, f"{PATH}?tag={office.tag}&reason={reason}")
        (form,) = [form for form in page.all("form", method="post") if form.has({"class_": "panel-body"})]
        fields = {box.attributes["name"]: box.attributes["value"] for box in page.all("input", type="hidden")}
        assert form.attributes["action"] == PATH and fields["tag"] == office.tag
        for _ in range(20):
            done = read(_post(office, action, **fields))
            assert heading in done.heading
            if not done.all("form", action=f"{PATH}/{action}"):
                break
            monkeypatch.setattr(dead_letters, "_SLICE_SEC", 5.0)
            fields = {box.attributes["name"]: box.attributes["value"] for box in done.all("input", type="hidden")}
        assert len(office.jobs()) == 3
    assert office.seqs() == []


def test_without_a_filter_all_must_be_meant(office: Office) -> None:
    seq = office.fail()
    assert visit(office.gateway, PATH).one("input", name="all").attributes["value"] == "true"
    assert not visit(office.gateway, f"{PATH}?tag={office.tag}").all("input", name="all")
    for action in ("replay", "remove"):
        read(_post(office, action, back=""), status=422)
        assert "form.seq" in read(_post(office, action, seq="x"), status=422).words
    assert office.seqs() == [seq]
    assert _post(office, "", seq=seq, back="tag=t").headers["Location"] == f"{PATH}?tag=t"
    assert office.seqs() == [seq]


def test_what_another_site_sends_does_nothing(office: Office) -> None:
    seq = office.fail()
    for action in ("", "replay", "remove"):
        read(_post(office, action, {"Sec-Fetch-Site": "cross-site"}, seq=seq, tag=office.tag), status=403)
    assert office.seqs() == [seq]


@pytest.mark.parametrize("text", [SCRIPT, ODD, LONG], ids=["script", "odd", "long"])
def test_letters_of_hostile_texts_are_shown_as_they_are(office: Office, text: str) -> None:
    fields: dict[str, Any] = {"run_id": text, "flow_name": text, "error": text, "worker_id": text, "tags": [text]}
    letter = DeadLetter(reason=text, tag=office.tag, timestamp=time.time(), payload=text, subject=text, **fields)
    office.parts.dead_letters.publish(letter, key=office.tag)
    subject = f"pyoco.dlq.{office.tag}"
    odd = {"reason": "x", "tag": office.tag, "timestamp": 1e300, "error": [text], "run_id": {}, "payload": 7}
    office.parts.bus.write(Write(subject, DeadLetter(**{"flow_name": None, **odd}).to_bytes()))
    page = visit(office.gateway, f"{PATH}?tag={office.tag}")
    assert len(_picks(page)) == 2 and not page.all("img")
    # Neither of them stops those behind it.
    good = office.fail()
    answer = read(_post(office, "replay", tag=office.tag, back=""))
    assert answer.heading == "One run was submitted again"
    assert good not in office.seqs() and len(_picks(visit(office.gateway, f"{PATH}?tag={office.tag}"))) == 2


def test_each_tenant_sees_and_replays_its_own_letters(guarded: Guarded) -> None:
    office = Office(guarded.gateway, guarded.parts)
    mine, theirs = office.fail(tenant_id="one"), office.fail(tenant_id="two")
    headers = {"X-API-Key": guarded.known_key("one"), **OWN}
    page = visit(guarded.gateway, PATH, headers=headers)
    assert (page.heading, _picks(page)) == ("Dead letters", [mine])
    assert f"no dead letter {theirs}" in read(_post(office, "replay", headers, seq=theirs)).words
    assert _post(office, "remove", headers, seq=theirs).status_code == 303
    assert guarded.gateway.get(f"/dead-letters/{theirs}", headers={"X-API-Key": guarded.known_key("two")}).ok
    reader = {**OWN, "X-API-Key": guarded.known_key("one", is_read_only=True)}
    read(_post(office, "replay", reader, seq=mine), status=403)
