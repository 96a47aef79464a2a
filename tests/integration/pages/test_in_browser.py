"""The pages in a real browser: Debian's chromium, driven by selenium."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.color import Color

from pyoco_server.contract.deadletters import DeadLetter
from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.conftest import HELLO_FLOW
from tests.integration.conftest import Guarded
from tests.support.browser import Browser
from tests.support.gateway import LocalGateway
from tests.support.parts import Parts, stored_run
from tests.support.printed import append, entry
from tests.support.tools import need
from tests.support.waiting import eventually
from tests.support.wheels import file_name, wheel

_NOW = time.time()
PATHS = ["/", "/ui/runs", "/ui/runs?q=none", "/ui/runs/broke", "/ui/runs/broke?task=add_one", "/ui/runs/live"]
PATHS += [
    "/ui/runs/broke/logs",
    "/ui/runs/broke/logs?task=to_text&tail=100",
    "/ui/runs/live/logs",
    "/ui/queues",
    "/ui/workers",
    "/ui/workers/alive",
    "/ui/wheels",
    "/ui/dead-letters",
    "/ui/dead-letters?tag=none",
]
PATHS += ["/ui/submit", "/ui/submit?from=broke", "/ui/nothing-here"]

#: Names what stands out of the window, for the message of a failed test.
_TOO_WIDE = """
return [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth)
    .map(e => e.outerHTML.slice(0, 120))
"""


@pytest.fixture(scope="module")
def stored(shared: LocalGateway) -> LocalGateway:
    """A gateway with runs and workers to look at."""
    workflow = parse_workflow(HELLO_FLOW)
    base = {"flow_name": "a_flow_with_quite_a_long_name_" * 2, "workflow_yaml_sha256": workflow.sha256}
    record = {"state": "SUCCEEDED", "started_at": _NOW - 50, "ended_at": _NOW - 40, "output": {"rows": list(range(90))}}
    begun = {
        "start_time": _NOW - 60,
        "worker_id": "a-worker.of-some-machine.example",
        "submitted_at": _NOW - 65,
        **base,
    }
    traceback = "Traceback (most recent call last):\n" + "  File a_file, line 7, in a_function\n" * 20
    failed = {"state": "FAILED", "started_at": _NOW - 40, "ended_at": _NOW - 30, "error": "E" * 300}
    with Parts(shared.config.nats_url) as parts:
        parts.workflows.keep(workflow.sha256, workflow.text)
        parts.put_many(
            [
                stored_run(
                    "broke",
                    status="FAILED",
                    error="ValueError: " + "x" * 300,
                    end_time=_NOW - 30,
                    tasks={"add_one": "SUCCEEDED", "to_text": "FAILED"},
                    task_records={"add_one": record, "to_text": {**failed, "traceback": traceback}},
                    wheels=[{"name": "a_package_with_quite_a_long_name_" * 2, "version": "1.4.2", "sha256": "5a" * 32}],
                    **begun,
                ),
                stored_run(
                    "live",
                    status="RUNNING",
                    tasks={"add_one": "RUNNING", "to_text": "PENDING"},
                    task_records={"add_one": {**record, "ended_at": None}},
                    **begun,
                ),
                *[stored_run(f"waits-{number}", tag="a-tag-that-nobody-serves", **base) for number in range(9)],
            ]
        )
        wide = (entry(seq, "x" * 300, "a_task_with_quite_a_long_name", "stderr") for seq in range(90))
        append(parts, "broke", *wide, entry(90, "the last line", "to_text"))
        for reason in ("execution_error", "timeout", "invalid_job"):
            letter = DeadLetter(reason, "E" * 300, _NOW - 30, "broke", base["flow_name"], "a-tag", payload="p" * 300)
            parts.dead_letters.publish(letter, key=reason)
        for version in ("1.0", "1.1"):
            form = {"wheel": (file_name("a_package", version), wheel("a_package", version))}
            assert shared.ask("POST", "/wheels", files=form, data={"tags": "gpu,a-tag-of-quite-some-length"}).ok
        for name, seen_at in (("alive", _NOW + 100_000), ("a-worker.of-some-machine.example", _NOW - 100)):
            worker = {"worker_id": name, "instance_id": "i", "state": "RUNNING", "tags": ["default", "gpu", "long-tag"]}
            installed = {"wheel_name": "a_package-1.0-py3-none-any.whl", "package_name": base["flow_name"]}
            worker["wheel_sync"] = {"enabled": True, "last_result": "error", "installed_wheels": [installed]}
            worker["wheel_sync"]["last_error"] = "E" * 300
            worker["wheel_sync"]["skipped_incompatible"] = [{**installed, "reason": "is for another interpreter"}]
            worker.update(last_seen_at=seen_at, updated_at=_NOW, host=name, concurrency=4, current_run_ids=["live"])
            parts.put(name, worker, bucket="pyoco_workers")
    eventually(
        lambda: len(shared.get("/runs").json()) == 11 and len(shared.parts.model.workers()) == 2, what="the runs known"
    )
    return shared


@pytest.fixture(scope="module", params=["en", "ja"])
def browser(stored: LocalGateway, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """A browser in each language; on a machine without one only CI insists."""
    need("chromedriver", "chromium-driver")
    opened = Browser(stored, request.param)
    yield opened
    opened.driver.quit()


@pytest.mark.long
@pytest.mark.parametrize("width", [360, 800, 1280, 2560])
def test_no_page_scrolls_sideways_nor_breaks_its_policy(browser: Browser, width: int) -> None:
    for path in PATHS:
        for is_dark in (False, True):
            browser.look(path, width=width, is_dark=is_dark)
            assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= width, (
                path,
                browser.driver.execute_script(_TOO_WIDE),
            )


@pytest.mark.long
def test_the_accessibility_checker_finds_no_fault(browser: Browser) -> None:
    # A check takes a second, so each language has one of the looks.
    width, is_dark = {"en": (1280, False), "ja": (390, True)}[browser.lang]
    for path in PATHS:
        browser.look(path, width=width, is_dark=is_dark)
        assert browser.accessibility_faults() == [], path


@pytest.mark.long
def test_the_accessibility_checker_finds_no_fault_where_nobody_has_signed_in(
    browser: Browser, guarded: Guarded
) -> None:
    for path in ("/", "/ui/runs"):
        browser.driver.get(guarded.gateway.url + path)
        assert browser.accessibility_faults() == [], path


def test_the_style_sheet_and_the_readers_colours_are_used(browser: Browser) -> None:
    shades = []
    for is_dark in (False, True):
        browser.look("/", is_dark=is_dark)
        shades.append(Color.from_string(browser.one("body").value_of_css_property("background-color")).rgba)
    assert shades[0] != shades[1]


def test_the_first_tab_leads_past_the_menu_and_every_focus_is_seen(browser: Browser) -> None:
    browser.look("/ui/runs")
    browser.one("body").send_keys(Keys.TAB)
    skip = browser.driver.switch_to.active_element
    assert skip.get_attribute("href").endswith("#main") and skip.location["y"] >= 0
    skip.send_keys(Keys.ENTER)
    assert browser.driver.current_url.endswith("#main")
    for _ in range(25):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.driver.switch_to.active_element
        around = focused.find_element(By.XPATH, "..")
        outlines = [element.value_of_css_property("outline-style") for element in (focused, around)]
        assert "solid" in outlines or "auto" in outlines, focused.get_attribute("outerHTML")


def test_a_refusal_and_a_submission_by_keyboard(browser: Browser) -> None:
    browser.look("/ui/submit")
    browser.one("#yaml").send_keys("version: 1\nflow: nonsense\n")
    browser.one("#flow").send_keys(Keys.ENTER)
    eventually(lambda: browser.all("#fault"), what="the refusal")
    assert browser.one("#fault .source .fault").is_displayed()
    assert browser.accessibility_faults() == []
    assert browser.one("#yaml").get_attribute("value") == "version: 1\nflow: nonsense\n"
    browser.one("#yaml").clear()
    browser.one("#yaml").send_keys(HELLO_FLOW)
    browser.one("#flow").send_keys(Keys.ENTER)
    browser.wait_for_page("/ui/runs/")
    assert "main" in browser.one("h1").text


def _is_cancelled(browser: Browser, run_id: str) -> bool:
    return browser.gateway.get(f"/runs/{run_id}").json()["status"] in ("CANCELLING", "CANCELLED")


def test_a_run_is_cancelled_by_two_clicks(browser: Browser) -> None:
    run_id = browser.gateway.submit("to_cancel")
    browser.look(f"/ui/runs/{run_id}")
    browser.one("details.ask > summary").click()
    browser.one("details.ask form button").click()
    eventually(lambda: _is_cancelled(browser, run_id), what="the cancel")
    assert browser.driver.current_url == f"{browser.gateway.url}/ui/runs/{run_id}"


def test_ticked_runs_are_counted_and_cancelled(browser: Browser) -> None:
    run_ids = [browser.gateway.submit("picked") for _ in range(3)]
    path = "/ui/runs?flow=picked&status=PENDING"
    browser.look(path)
    box = browser.one(f"input[value='{run_ids[0]}']")
    box.click()
    box.send_keys(Keys.ENTER)
    eventually(lambda: not browser.all("input:checked[name=run]"), what="the same list, with nothing ticked")
    assert browser.driver.current_url.endswith(path) and not _is_cancelled(browser, run_ids[0])
    for run_id in run_ids[:2]:
        browser.one(f"input[value='{run_id}']").click()
    browser.one(".bulk details > summary.btn--risk").click()
    browser.one(".bulk button.btn--risk").click()
    eventually(lambda: all(_is_cancelled(browser, run_id) for run_id in run_ids[:2]), what="the cancel")
    assert browser.driver.current_url.endswith(path)
    assert not _is_cancelled(browser, run_ids[2])
    browser.gateway.ask("POST", f"/runs/{run_ids[2]}/cancel")


def test_ticked_runs_are_submitted_again_by_two_clicks(browser: Browser) -> None:
    browser.look("/ui/runs?status=FAILED")
    browser.one("input[value='broke']").click()
    browser.one(".bulk details:not(:has(.btn--risk)) > summary").click()
    browser.one(".bulk button[value='failed']").click()
    eventually(lambda: browser.all("#outcome"), what="what became of it")
    assert browser.accessibility_faults() == []
    run_id = browser.one(".is-completed a.id").text
    assert browser.gateway.get(f"/runs/{run_id}").json()["rerun_of"] == "broke"
    browser.gateway.ask("POST", f"/runs/{run_id}/cancel")


def test_a_node_of_the_graph_leads_to_its_task(browser: Browser) -> None:
    browser.look("/ui/runs/broke")
    nodes = browser.all(".graph a.node")
    assert len(nodes) == 2
    browser.driver.execute_script("arguments[0].focus()", nodes[0])
    nodes[0].send_keys(Keys.ENTER)
    browser.wait_for_page("/ui/runs/broke?task=add_one#task")
    assert "add_one" in browser.one("#task h2").text


def test_the_wheels_of_a_run_are_shown_with_their_whole_hash(browser: Browser) -> None:
    browser.look("/ui/runs/broke", width=360)
    (row,) = browser.all("section[aria-labelledby='wheels'] tbody tr")
    assert row.is_displayed() and "1.4.2" in row.text and "5a" * 32 in row.text


@pytest.mark.long
@pytest.mark.parametrize("width", [360, 1280])
def test_the_newest_line_of_a_log_is_in_sight_and_the_others_are_reached_by_keyboard(
    browser: Browser, width: int
) -> None:
    browser.look("/ui/runs/broke", width=width)
    log, last = browser.one(".log"), browser.one(".log li:last-child")
    assert last.text.endswith("the last line")
    below = "const [log, li] = arguments; return li.getBoundingClientRect().bottom - log.getBoundingClientRect().bottom"
    assert -30 < browser.driver.execute_script(below, log, last) < 1
    first = browser.one(".log li")
    browser.driver.execute_script("arguments[0].focus()", log)
    log.send_keys(Keys.HOME)
    above = "const [log, li] = arguments; return li.getBoundingClientRect().top - log.getBoundingClientRect().top"
    eventually(lambda: browser.driver.execute_script(above, log, first) >= 0, what="the first line")
