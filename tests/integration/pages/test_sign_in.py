"""Signing in: who sees which runs on the pages, and what ends a session."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
import requests

from pyoco_server.operations.sessions import SESSION_SEC, Session
from tests.integration.conftest import Guarded
from tests.support.gateway import problem
from tests.support.keys import key_id_of
from tests.support.pages import read, visit
from tests.support.waiting import eventually

OWN = {"Sec-Fetch-Site": "same-origin"}
WRONG_KEY = "pyoco_0123456789abcdef.0123456789abcdef"


@dataclass
class Browser:
    """Somebody who may have signed in."""

    guarded: Guarded
    cookies: dict[str, str]

    def get(self, path: str, **options: str) -> requests.Response:
        return requests.get(self.guarded.gateway.url + path, cookies=self.cookies, timeout=10, **options)

    def post(self, path: str, headers: dict[str, str] = OWN, **fields: str) -> requests.Response:
        url = self.guarded.gateway.url + path
        return requests.post(url, data=fields, headers=headers, cookies=self.cookies, timeout=10, allow_redirects=False)


def _signed_in(guarded: Guarded, key: str) -> Browser:
    guarded.gateway.wait_until_known(key)
    answer = Browser(guarded, {}).post("/ui/sign-in", key=f" {key} ")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    return Browser(guarded, dict(answer.cookies))


def test_the_first_page_asks_for_a_key_and_shows_nothing_else(guarded: Guarded) -> None:
    guarded.gateway.submit_with(guarded.known_key("acme"))
    for lang, heading in (("en", "Sign in"), ("ja", "サインイン")):
        page = visit(guarded.gateway, "/", lang=lang)
        assert page.heading == heading
        assert page.one("form").attributes["action"] == "/ui/sign-in"
        assert not [link for link in page.links() if link.startswith("/ui")]


@pytest.mark.parametrize("path", ["/ui/runs", "/ui/workers", "/ui/queues", "/ui/submit", "/ui/runs/x", "/ui/none"])
def test_every_other_page_leads_to_the_form(guarded: Guarded, path: str) -> None:
    page = visit(guarded.gateway, path, status=401)
    assert page.heading == "You are not signed in"
    assert "/" in page.links() and path in page.links()
    assert not [link for link in page.links() if link.startswith("/ui") and link != path]


def test_a_session_shows_the_runs_of_its_keys_tenant_alone(guarded: Guarded) -> None:
    acme, zeta = guarded.known_key("acme2"), guarded.known_key("zeta2")
    own, other = guarded.gateway.submit_with(acme, "own-flow"), guarded.gateway.submit_with(zeta, "other-flow")
    browser = _signed_in(guarded, acme)
    for path in ("/", "/ui/runs", "/ui/runs?q=o", "/ui/queues", "/ui/submit", f"/ui/runs/{own}"):
        page = read(browser.get(path))
        assert "other-flow" not in page.html and other not in page.html
        assert page.one("form", action="/ui/sign-out")
    assert own in read(browser.get("/ui/runs")).html
    assert "1" in read(browser.get("/")).one("a", href="/ui/runs?status=PENDING").words.split()
    read(browser.get(f"/ui/runs/{other}"), status=404)
    read(browser.get(f"/ui/submit?from={other}"), status=404)
    browser.post("/ui/cancel", run=other)
    read(browser.post(f"/ui/runs/{other}/cancel"), status=404)
    assert guarded.gateway.with_key(zeta, "GET", f"/runs/{other}").json()["status"] == "PENDING"
    assert browser.get(f"/runs/{own}").json()["run_id"] == own


def test_what_a_session_does_is_signed_with_its_key(guarded: Guarded) -> None:
    key = guarded.known_key("signed")
    run_id = guarded.gateway.submit_with(key)
    assert _signed_in(guarded, key).post(f"/ui/runs/{run_id}/cancel").status_code == 303
    run = guarded.gateway.with_key(key, "GET", f"/runs/{run_id}").json()
    assert run["cancel_requested_by"] == f"api_key:{key_id_of(key)}"


def test_a_session_writes_nowhere_but_on_pages(guarded: Guarded) -> None:
    key = guarded.known_key("pages")
    browser = _signed_in(guarded, key)
    assert problem(browser.post("/runs"), 401)
    assert browser.get("/runs").status_code == 200
    read(browser.post("/ui/sign-out", headers={"Sec-Fetch-Site": "cross-site"}), status=403)


@pytest.mark.parametrize("key", ["", "no-key-at-all", WRONG_KEY])
def test_a_wrong_key_opens_nothing(guarded: Guarded, key: str) -> None:
    answer = Browser(guarded, {}).post("/ui/sign-in", key=key)
    page = read(answer, status=403 if key else 401)
    assert "The key was refused" in page.words
    assert "Set-Cookie" not in answer.headers
    assert not key or key not in page.html


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(guarded: Guarded) -> None:
    key = guarded.known_key("cookie")
    cookie = Browser(guarded, {}).post("/ui/sign-in", key=key).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={SESSION_SEC}"} <= set(cookie.split("; "))
    assert key.partition(".")[2] not in cookie
    read(Browser(guarded, {}).post("/ui/sign-in", headers={"Origin": "http://evil.example"}, key=key), status=403)


def test_signing_out_forgets_the_session(guarded: Guarded) -> None:
    browser = _signed_in(guarded, guarded.known_key("out"))
    answer = browser.post("/ui/sign-out")
    assert answer.status_code == 303 and "Max-Age=0" in answer.headers["Set-Cookie"]


def test_a_revoked_key_ends_its_sessions(guarded: Guarded) -> None:
    key = guarded.known_key("revoked")
    browser = _signed_in(guarded, key)
    assert browser.get("/ui/runs").status_code == 200
    guarded.keys.revoke(key)
    eventually(lambda: browser.get("/ui/runs").status_code == 401, what="the end of the session")
    assert read(browser.get("/")).heading == "Sign in"


def test_a_session_that_was_not_given_is_none(guarded: Guarded) -> None:
    key, other = guarded.known_key("forged"), guarded.known_key("forged")
    cookie = _signed_in(guarded, key).cookies["pyoco_session"]
    key_id, expires_at, signature = cookie.split(".")
    forged = [
        f"{key_id}.{int(expires_at) + 1}.{signature}",
        f"{key_id_of(other)}.{expires_at}.{signature}",
        f"{key_id}.{expires_at}.{'0' * 64}",
        f"{key_id}.{expires_at}.",
        f"{key_id}.{expires_at}.é",
        f"{key_id}.x.{signature}",
        "",
        "..",
        key,
    ]
    for text in forged:
        answer = guarded.gateway.get("/ui/runs", headers={"Cookie": f"pyoco_session={text}".encode()})
        assert answer.status_code == 401, text
    assert guarded.gateway.get("/ui/runs", headers={"Cookie": f"pyoco_session={cookie}"}).status_code == 200
    record = guarded.gateway.parts.model.keys.get(key_id).record
    past = Session.of(record, int(time.time()) - 1, pepper="")
    assert str(Session.of(record, int(expires_at), pepper="")) == cookie
    assert str(Session.of(record, int(expires_at), pepper="another")) != cookie
    assert guarded.gateway.get("/ui/runs", headers={"Cookie": f"pyoco_session={past}"}).status_code == 401


def test_a_key_that_may_only_read_signs_in_and_changes_nothing(guarded: Guarded) -> None:
    key = guarded.known_key("reader", is_read_only=True)
    browser = _signed_in(guarded, key)
    assert browser.get("/ui/runs").status_code == 200
    read(browser.post("/ui/submit", workflow="x"), status=403)
