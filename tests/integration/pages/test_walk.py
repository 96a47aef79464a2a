"""Every page and every action in a real browser that runs no scripts, in both languages, with keys and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.paths import is_page
from tests.integration.conftest import Guarded
from tests.support.browser import Browser
from tests.support.gateway import LocalGateway
from tests.support.keys import key_id_of
from tests.support.parts import Parts
from tests.support.tools import need
from tests.support.walk import Walk

_HIDDEN_SCRIPT = "data:text/html,<title>none</title><script>document.title='ran'</script>"


@contextmanager
def _browser(gateway: LocalGateway, lang: str) -> Iterator[Browser]:
    """A browser without scripts; on a machine without one only CI insists."""
    need("chromedriver", "chromium-driver")
    browser = Browser(gateway, lang, has_scripts=False)
    try:
        browser.driver.get(_HIDDEN_SCRIPT)
        assert browser.driver.title == "none"
        yield browser
    finally:
        browser.driver.quit()


def _walk(walk: Walk, folder: Path) -> None:
    walk.furnish()
    walk.see_every_page()
    walk.switch_the_refresh()
    walk.submit()
    walk.submit_a_file(folder)
    walk.rerun_and_cancel_a_run()
    walk.filter_and_pick_runs()
    walk.hide_and_drain_workers()
    walk.upload_and_delete_a_wheel(folder)
    walk.replay_and_remove_letters()


def _unanswered(gateway: LocalGateway, metrics: str) -> list[str]:
    """Give the pages and forms that nobody was given yet, by method and route."""
    answered = {
        (sample.labels["method"], sample.labels["route"])
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "pyoco_http_request_duration_seconds_count" and sample.labels["status"] in ("200", "303")
    }
    routes = {
        (method, rule.rule)
        for rule in create_app(gateway.parts).url_map.iter_rules()
        for method in (rule.methods or set()) & {"GET", "POST"}
        if is_page(rule.rule)
    }
    return sorted(" ".join(route) for route in routes - answered)


#: What only answers the Enter key in a list; tests of the lists press it.
_BY_ENTER = ["POST /ui/dead-letters", "POST /ui/runs"]
#: Where nobody signs in.
_OF_SESSIONS = ["POST /ui/sign-in", "POST /ui/sign-out"]


@pytest.mark.long
@pytest.mark.parametrize("lang", ["en", "ja"])
def test_without_keys_every_page_and_every_action_works(
    shared: LocalGateway, shared_parts: Parts, tmp_path: Path, lang: str
) -> None:
    with _browser(shared, lang) as browser:
        _walk(Walk(browser, shared_parts, f"walk-{lang}"), tmp_path)
    assert _unanswered(shared, shared.get("/metrics").text) == sorted([*_BY_ENTER, *_OF_SESSIONS])


@pytest.mark.long
@pytest.mark.parametrize("lang", ["en", "ja"])
def test_with_keys_every_page_and_every_action_works(guarded: Guarded, tmp_path: Path, lang: str) -> None:
    key = guarded.known_key("acme")
    with _browser(guarded.gateway, lang) as browser:
        walk = Walk(browser, guarded.parts, f"walk-{lang}", tenant_id="acme", api_key_id=key_id_of(key))
        walk.open("/ui/runs")
        assert browser.all("#down") and not browser.all(".nav")
        walk.press("main a.btn[href='/']", "/")
        for text, page in (("a-wrong-key", "#signin .is-failed"), (key, ".nav")):
            browser.one("#key").send_keys(text)
            walk.press("form button.btn--main", "/")
            assert browser.all(page)
        _walk(walk, tmp_path)
        walk.press(".who button", "/")
        assert browser.all("#signin") and not browser.all(".nav")
    metrics = guarded.gateway.with_key(key, "GET", "/metrics").text
    assert _unanswered(guarded.gateway, metrics) == _BY_ENTER
