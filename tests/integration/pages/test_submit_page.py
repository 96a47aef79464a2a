"""The form that submits a flow.yaml: what it refuses, where it shows why, and who may send it."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import requests

from tests.conftest import HELLO_FLOW
from tests.support.gateway import LocalGateway
from tests.support.pages import Page, read, visit

OWN = {"Sec-Fetch-Site": "same-origin"}


def _send(gateway: LocalGateway, headers: dict[str, str] = OWN, **fields: Any) -> requests.Response:
    """Send the form as a browser does, with its line ends; gives the answer without following it."""
    files = {"file": fields.pop("file", ("", b""))}
    data = {"workflow": HELLO_FLOW.replace("\n", "\r\n"), "flow_name": "main", "tag": "", "tags": "", "params": ""}
    return gateway.ask(
        "POST", "/ui/submit", data={**data, **fields}, files=files, headers=headers, allow_redirects=False
    )


def _run_of(gateway: LocalGateway, answer: requests.Response) -> dict[str, Any]:
    """Follow an answer to the run that it leads to."""
    assert answer.status_code == 303, answer.text
    path = answer.headers["Location"]
    assert visit(gateway, path).heading.startswith("main waits for a worker of tag")
    document: dict[str, Any] = gateway.get(path.removeprefix("/ui")).json()
    return document


def test_a_pasted_flow_becomes_a_run_and_the_answer_leads_to_it(shared: LocalGateway) -> None:
    run = _run_of(shared, _send(shared, tag="gpu", tags="nightly, finance ,", params='{"x": 7}'))
    assert (run["flow_name"], run["tag"], run["tags"], run["params"]) == (
        "main",
        "gpu",
        ["nightly", "finance"],
        {"x": 7},
    )
    assert run["workflow_yaml_sha256"] == hashlib.sha256(HELLO_FLOW.encode()).hexdigest()


def test_an_uploaded_file_wins_over_the_text(shared: LocalGateway) -> None:
    text = HELLO_FLOW.replace("x: 1", "x: 5")
    run = _run_of(shared, _send(shared, workflow="not: yaml", file=("flow.yaml", text.encode())))
    assert (run["params"], run["tag"], run["tags"]) == ({"x": 5}, "default", ["default"])


def test_a_fault_is_shown_at_its_line_and_what_was_typed_stays(shared: LocalGateway) -> None:
    text = HELLO_FLOW.replace("add_one >> to_text", "add_one >>> to_text")
    page = read(_send(shared, workflow=text, tags="a<b", params='{"x": 1}'), status=422)
    assert page.heading == "The flow was not submitted"
    fault = page.one("li", class_="fault")
    assert fault.words.startswith("add_one >>> to_text") and "line 4" in fault.words
    assert page.one("textarea", id="yaml").text.strip() == text.strip()
    assert page.one("textarea", id="params").text.strip() == '{"x": 1}'
    assert page.one("input", id="labels").attributes["value"] == "a<b"
    assert read(_send(shared, workflow=text, headers={**OWN, "Accept-Language": "ja"}), lang="ja", status=422)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"flow_name": " "}, "form.flow_name"),
        ({"tag": "a b"}, "form.tag"),
        ({"params": "[1]"}, "form.params"),
        ({"params": "{"}, "form.params"),
        ({"tags": "x" * 200}, "form.tags"),
        ({"workflow": ""}, "ERR-PYOCO-0002"),
    ],
)
def test_a_field_that_is_not_right_is_named(shared: LocalGateway, fields: dict[str, str], place: str) -> None:
    assert place in read(_send(shared, **fields), status=422).one("section", id="fault").words


def test_a_file_that_is_too_large_or_not_text_is_refused(shared: LocalGateway) -> None:
    page = read_large(_send(shared, file=("flow.yaml", b"#" * 300_000)))
    assert "ERR-PYOCO-0016" in page.words
    page = read(_send(shared, file=("flow.yaml", b"version: 1\n# \xff\n")), status=422)
    assert "line 2, column 3: the byte 0xff is not UTF-8" in page.words


def read_large(answer: requests.Response) -> Page:
    """Read the page that gives back what was too large."""
    assert answer.status_code == 413
    page = Page(answer.text)
    page.check("en")
    return page


def test_checking_submits_nothing(shared: LocalGateway) -> None:
    before = sum(shared.reports.counts().values())
    page = read(_send(shared, check="1"))
    assert "Nothing is wrong: the flow has 2 tasks" in page.words
    assert sum(shared.reports.counts().values()) == before
    warned = read(_send(shared, check="1", workflow=HELLO_FLOW.replace("add_one >> to_text", "[add_one] >> to_text")))
    assert "line 4" in warned.words


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "OWN"},
    ],
)
def test_what_another_site_sends_is_refused(shared: LocalGateway, headers: dict[str, str]) -> None:
    before = shared.reports.counts()
    given = {name: shared.url if value == "OWN" else value for name, value in headers.items()}
    page = read(_send(shared, headers=given), status=403)
    assert page.heading == "This is not allowed"
    assert shared.reports.counts() == before


def test_a_browser_that_sends_the_origin_alone_is_believed(shared: LocalGateway) -> None:
    assert _send(shared, headers={"Origin": shared.url}).status_code == 303


def test_the_form_can_be_filled_with_what_a_run_was_submitted_with(shared: LocalGateway) -> None:
    path = _send(shared, tag="gpu", tags="a,b", params='{"x": "é"}').headers["Location"]
    run_id = path.rpartition("/")[2]
    page = visit(shared, f"/ui/submit?from={run_id}")
    assert f"/ui/submit?from={run_id}" in visit(shared, path).links()
    assert page.one("textarea", id="yaml").text.strip() == HELLO_FLOW.strip()
    assert page.one("input", id="tag").attributes["value"] == "gpu"
    assert '"x": "é"' in page.one("textarea", id="params").text
    visit(shared, "/ui/submit?from=nobody", status=404)
