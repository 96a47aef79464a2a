"""What all pages share: policy, language, refresh, static files, and errors as pages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import url_for

from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.paths import is_page
from tests.support.gateway import LocalGateway, problem
from tests.support.nats import NatsServer
from tests.support.pages import Page, read, visit
from tests.support.waiting import eventually


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_page_answers_in_the_browsers_language(shared: LocalGateway, lang: str) -> None:
    page = visit(shared, "/ui/runs", lang=lang)
    assert page.heading == {"en": "Runs", "ja": "実行"}[lang]
    assert page.title.endswith("· pyoco")


@pytest.mark.parametrize(
    ("accepted", "lang"),
    [("fr, ja-JP;q=0.5, en;q=0.3", "ja"), ("en-GB", "en"), ("fr", "ja"), ("*", "ja"), ("ja;q=0, en;q=0.1", "en")],
)
def test_a_language_that_we_do_not_speak_gives_way_to_the_next_one_and_to_the_servers(
    serve: Callable[..., LocalGateway], accepted: str, lang: str
) -> None:
    gateway = serve(LANG="ja_JP.UTF-8")
    gateway.wait_until_complete()
    assert Page(gateway.get("/ui/runs", headers={"Accept-Language": accepted}).text).one("html").has({"lang": lang})


def test_the_setting_decides_the_language_whatever_the_browser_says(serve: Callable[..., LocalGateway]) -> None:
    gateway = serve(PYOCO_DASHBOARD_LANG="ja", LANG="en_US.UTF-8")
    gateway.wait_until_complete()
    answer = gateway.get("/ui/runs", headers={"Accept-Language": "en"})
    read(answer, lang="ja")
    assert answer.headers["Content-Language"] == "ja"


def test_a_reader_chooses_how_often_a_page_is_loaded_again(shared: LocalGateway) -> None:
    assert "Refresh" not in shared.get("/ui/runs").headers
    answer = shared.get("/ui/runs?status=FAILED&refresh=30")
    assert answer.headers["Refresh"] == "30"
    assert "/ui/runs?status=FAILED&refresh=5" in read(answer).links()
    assert "Refresh" not in shared.get("/ui/runs?refresh=off").headers
    assert "/ui/runs?path=x&refresh=5" in visit(shared, "/ui/runs?path=x").links()
    page = visit(shared, "/ui/runs?refresh=1", status=422)
    assert "query.refresh" in page.words


@pytest.mark.parametrize("path", ["/static/style.css", "/static/favicon.svg"])
def test_static_files_are_kept_for_ever_under_the_address_of_their_version(shared: LocalGateway, path: str) -> None:
    (href,) = [link for link in visit(shared, "/ui/runs").links() if link.startswith(path)]
    answer = shared.get(href)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]
    assert shared.get(path).headers["Cache-Control"] == "no-cache"
    again = shared.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert shared.get(path + "?v=another").headers["Cache-Control"] == "no-cache"


def test_nothing_but_the_static_files_is_answered_under_static(shared: LocalGateway) -> None:
    for path in ("/static/", "/static/../templates/base.html", "/static/%2e%2e/__init__.py", "/static/nothing.css"):
        problem(shared.get(path), 404)


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_errors_under_pages_are_pages(shared: LocalGateway, lang: str) -> None:
    missing = visit(shared, "/ui/nothing-here", lang=lang, status=404)
    assert "404" in missing.words
    faulty = visit(shared, "/ui/runs?status=OPEN&cursor=x", lang=lang, status=422)
    assert "query.status:" in faulty.words and "query.cursor:" in faulty.words
    assert "query.since:" in visit(shared, "/ui/runs?since=1y", lang=lang, status=422).words
    wrong = shared.ask("POST", "/ui/queues", headers={"Accept-Language": lang, "Sec-Fetch-Site": "same-origin"})
    read(wrong, lang=lang, status=405)
    assert "GET" in wrong.headers["Allow"]


def test_no_form_of_any_page_is_taken_from_another_site(shared: LocalGateway) -> None:
    app = create_app(shared.parts)
    rules = [rule for rule in app.url_map.iter_rules() if is_page(rule.rule) and "POST" in (rule.methods or ())]
    assert len(rules) > 12
    with app.test_request_context():
        paths = [url_for(rule.endpoint, **dict.fromkeys(rule.arguments, "any")) for rule in rules]
    for path in paths:
        for headers in (
            {},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": f"{shared.url}.evil.example"},
            {"Origin": "null"},
        ):
            page = read(shared.ask("POST", path, headers=headers, allow_redirects=False), status=403)
            assert "did not come from a page of this dashboard" in page.words, path


@pytest.mark.parametrize("path", ["/nothing", "/runs/nothing", "/uix", "/static/nothing", "/runs/a/b/c"])
def test_every_other_path_answers_programs_whatever_the_browser_accepts(shared: LocalGateway, path: str) -> None:
    problem(shared.get(path, headers={"Accept": "text/html"}), 404)


def test_without_nats_a_page_says_so_and_tries_again_and_a_form_does_not(
    nats: NatsServer, serve: Callable[..., LocalGateway]
) -> None:
    gateway = serve()
    gateway.wait_until_complete()
    nats.stop()
    eventually(lambda: gateway.get("/ui/runs").status_code == 503, what="the loss being noticed")
    answer = gateway.get("/ui/runs", headers={"Accept-Language": "ja"})
    page = read(answer, lang="ja", status=503)
    assert "ERR-PYOCO-0003" in page.words
    assert answer.headers["Refresh"] == "5" and answer.headers["Retry-After"]
    for lang, hint in (("en", "It may or may not have been done."), ("ja", "処理されたかどうかは不明です。")):
        headers = {"Accept-Language": lang, "Sec-Fetch-Site": "same-origin"}
        answer = gateway.ask("POST", "/ui/runs/any/cancel", headers=headers)
        page = read(answer, lang=lang, status=503)
        assert hint in page.words and not page.all("section", aria_labelledby="safe")
        assert "Refresh" not in answer.headers and answer.headers["Retry-After"]
    nats.start()
    gateway.wait_until_complete()
    visit(gateway, "/ui/runs")
