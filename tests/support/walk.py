"""An operator who walks through the dashboard by clicks, without looking at any word, so in every language."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from selenium.webdriver.remote.webelement import WebElement

from pyoco_server.workflow.flow_yaml import parse_workflow
from tests.conftest import HELLO_FLOW
from tests.support.browser import Browser
from tests.support.office import Office
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually
from tests.support.wheels import file_name, wheel


class Walk:
    """One walk, over runs, workers, letters and wheels of its own.

    :param owner: ``tenant_id`` and ``api_key_id`` of the runs.
    """

    def __init__(self, browser: Browser, parts: Parts, name: str, **owner: str) -> None:
        self.browser = browser
        self.parts = parts
        self.name = name
        self.owner = owner
        self.office = Office(browser.gateway, parts)

    # -- what is there -----------------------------------------------------------------------------------------

    def furnish(self) -> None:
        """Store what the walk is about, and wait until the gateway knows it."""
        workflow = parse_workflow(HELLO_FLOW)
        self.parts.workflows.keep(workflow.sha256, workflow.text)
        for run_id, status in (("broke", "FAILED"), ("live", "RUNNING"), ("waits", "PENDING"), ("waits-2", "PENDING")):
            times = {"start_time": None if status == "PENDING" else time.time() - 60, "submitted_at": time.time() - 70}
            states = {"add_one": "SUCCEEDED", "to_text": "PENDING" if status == "PENDING" else status}
            run = self._run(run_id, status=status, tasks=states, workflow_yaml_sha256=workflow.sha256, **times)
            revision = self.parts.put(run["run_id"], run)
        now = time.time()
        for worker_id, seen_at in (("alive", now + 100_000), ("alive-too", now + 100_000), ("lost", now - 100)):
            record = {"worker_id": f"{self.name}-{worker_id}", "instance_id": "i", "state": "IDLE", "tags": ["a-tag"]}
            record.update(last_seen_at=seen_at, updated_at=now)
            self.parts.put(record["worker_id"], record, bucket="pyoco_workers")
        for _ in range(4):
            self.office.fail(flow_name=self.name, **self.owner)
        model = self.browser.gateway.parts.model
        self.browser.gateway.wait_until_applied(revision)
        eventually(lambda: model.worker(f"{self.name}-lost"), what="the workers known")

    def _run(self, run_id: str, **fields: Any) -> dict[str, Any]:
        return stored_run(f"{self.name}-{run_id}", flow_name=self.name, **{**self.owner, **fields})

    # -- steps -------------------------------------------------------------------------------------------------

    def open(self, path: str) -> None:
        """Open a page, by its address."""
        self.browser.look(path)
        assert self.browser.one("html").get_attribute("lang") == self.browser.lang
        assert self.browser.one("h1").text

    def press(self, selector: str, page: str) -> None:
        """Click the one button or link that is seen, and wait for the page that this leads to."""
        before = self.browser.all("html")
        (shown,) = [element for element in self.browser.all(selector) if element.is_displayed()]
        shown.click()
        # Between two pages there is none.
        eventually(lambda: self.browser.all("html") not in ([], before), what=f"an answer to {selector}")
        self.browser.wait_for_page(page)

    def confirm(self, summary: str, button: str, page: str) -> None:
        """Open a question, and answer it."""
        self._first(summary).click()
        self.press(button, page)

    def pick(self, *values: str) -> None:
        for value in values:
            self.browser.one(f"input[type=checkbox][value='{value}']").click()

    def _first(self, selector: str) -> WebElement:
        return next(element for element in self.browser.all(selector) if element.is_displayed())

    # -- pages and actions -------------------------------------------------------------------------------------

    def see_every_page(self) -> None:
        """Go through the menu, and to what only other links lead to."""
        self.open("/")
        for place in [link.get_attribute("href") for link in self.browser.all(".nav a")]:
            path = place.removeprefix(self.browser.gateway.url)
            self.press(f".nav a[href='{path}']", path)
            assert self.browser.one(".nav a[aria-current='page']").get_attribute("href") == place
            assert not self.browser.all("#down")
        self.open(f"/ui/runs/{self.name}-broke?task=to_text")
        self.open(f"/ui/runs/{self.name}-broke/logs")
        self.open(f"/ui/workers/{self.name}-lost")
        self.open("/ui/nothing-here")
        assert self.browser.all("#down")

    def switch_the_refresh(self) -> None:
        self.open("/ui/queues")
        for choice in ("off", "30", "5"):
            self.press(f".seg a[href*='refresh={choice}']", f"refresh={choice}")
            chosen = self.browser.one(".head .seg a[aria-current='true']").get_attribute("href")
            assert chosen.endswith(f"refresh={choice}")

    def submit(self) -> None:
        """Send what is wrong, then what is right: only to be checked, as a text, as a file, and from a run."""
        self.open("/ui/submit")
        self.browser.one("#yaml").send_keys("version: 1\nflow: nonsense\n")
        self.press("button.btn--main[type=submit]", "/ui/submit")
        assert self.browser.one("#fault .source .fault").is_displayed()
        self.browser.one("#yaml").clear()
        self.browser.one("#yaml").send_keys(HELLO_FLOW)
        self.press("button[name=check]", "/ui/submit")
        assert self.browser.one(".notice.is-completed").is_displayed()
        self.press("button.btn--main[type=submit]", "/ui/runs/")
        self.press("a[href^='/ui/submit?from=']", "/ui/submit?from=")
        assert self.browser.one("#yaml").get_attribute("value") == HELLO_FLOW
        self.press("button.btn--main[type=submit]", "/ui/runs/")

    def submit_a_file(self, folder: Path) -> None:
        (folder / "flow.yaml").write_text(HELLO_FLOW)
        self.open("/ui/submit")
        self.browser.one("#file").send_keys(str(folder / "flow.yaml"))
        self.press("button.btn--main[type=submit]", "/ui/runs/")

    def rerun_and_cancel_a_run(self) -> None:
        """Run a failed run again, from its failed tasks and as a whole, and cancel the new ones."""
        for begins_at in ("failed", "all"):
            self.open(f"/ui/runs/{self.name}-broke")
            self.confirm("details.ask > summary", f"button[name=from][value={begins_at}]", "/ui/runs/")
            assert self.browser.all(f"dd a[href='/ui/runs/{self.name}-broke']")
            self.confirm("details.ask > summary", ".ask-body button.btn--risk", "/ui/runs/")
            run_id = self.browser.one(".copy").text
            eventually(lambda run_id=run_id: self._status(run_id) == "CANCELLED", what="the cancel")

    def _status(self, run_id: str) -> str:
        status: str = self.parts.snapshot(run_id)["status"]
        return status

    def filter_and_pick_runs(self) -> None:
        """Find runs by the form; cancel two that wait, and run one again that has failed."""
        self.open("/ui/runs")
        self.browser.one("#f-flow").send_keys(self.name)
        self.browser.one("input[name=status][value=PENDING]").click()
        self.press(".filters button", f"flow={self.name}")
        self.pick(f"{self.name}-waits", f"{self.name}-waits-2")
        self.confirm(".bulk .btn--risk", ".bulk button[formaction='/ui/cancel']", f"flow={self.name}")
        eventually(lambda: self._status(f"{self.name}-waits-2") == "CANCELLED", what="the cancel")
        self.open(f"/ui/runs?flow={self.name}&status=FAILED")
        self.pick(f"{self.name}-broke")
        self.confirm(".bulk .ask > summary", ".bulk button[value=all]", "/ui/rerun")
        assert self.browser.one(".is-completed a.id").is_displayed()
        self.press("main a.btn", f"/ui/runs?flow={self.name}")
        self.open(f"/ui/runs?flow={self.name}&q=nothing")
        assert self.browser.all(".notice--empty")

    def hide_and_drain_workers(self) -> None:
        lost, alive = (f"form[action='/ui/workers/{self.name}-{name}/{what}'] button" for name, what in _WORKER_FORMS)
        self.open("/ui/workers")
        self.press(lost, "/ui/workers")
        assert not self.browser.all(lost)
        self.open("/ui/workers?scope=hidden")
        self.press(lost, "/ui/workers?scope=hidden")
        self.open(f"/ui/workers/{self.name}-alive")
        self.confirm(".ask > summary", alive, f"/ui/workers/{self.name}-alive")
        assert not self.browser.all(alive) and self.browser.one(".is-stopped").is_displayed()

    def upload_and_delete_a_wheel(self, folder: Path) -> None:
        package = self.name.replace("-", "_")
        file = folder / file_name(package, "1.0")
        file.write_bytes(wheel(package, "1.0"))
        for expected in ("form button[name=name]", ".notice.is-failed"):
            self.open("/ui/wheels")
            self.browser.one("#u-file").send_keys(str(file))
            self.press(".upload button", "/ui/wheels")
            # The same version again is refused.
            assert self.browser.all(expected)
        row = f"tr:has(button[value='{file.name}'])"
        self.confirm(f"{row} .ask > summary", f"button[value='{file.name}']", "/ui/wheels")
        assert not self.browser.all(row)

    def replay_and_remove_letters(self) -> None:
        """One of each by its box, the rest with all that match."""
        path = f"/ui/dead-letters?tag={self.office.tag}"
        replay, remove = (
            "button[formaction='/ui/dead-letters/replay']",
            "button[formaction='/ui/dead-letters/remove']",
        )
        boxes = "input[name=seq]"
        self.open(path)
        self.browser.all(boxes)[0].click()
        self.confirm(".bulk .ask > summary", f".bulk {replay}", "/ui/dead-letters/replay")
        self.press("main a.btn", path)
        assert len(self.browser.all(boxes)) == 3
        self.browser.all(boxes)[0].click()
        self.confirm(".bulk .btn--risk", f".bulk {remove}", path)
        assert len(self.browser.all(boxes)) == 2
        self.confirm(".panel-body .ask > summary", f".panel-body {replay}", "/ui/dead-letters/replay")
        self.office.fail(**self.owner)
        self.open(path)
        self.confirm(".panel-body .btn--risk", f".panel-body {remove}", "/ui/dead-letters/remove")
        self.press("main a.btn", path)
        assert self.browser.all(".notice--empty")


_WORKER_FORMS = (("lost", "hidden"), ("alive", "drain"))
