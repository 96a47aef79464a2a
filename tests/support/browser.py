"""A real browser for the pages: Debian's chromium, driven by selenium."""

from __future__ import annotations

import importlib.resources
import shutil
from typing import Any, Protocol

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support.waiting import eventually

#: Runs the checker.
_CHECK = """
const done = arguments[0];
axe.run(document).then(found => done(found.violations.map(v => [v.id, v.impact, v.nodes[0].html.slice(0, 200)])));
"""
#: What a reader chooses who allows no scripts.
_BLOCKED = 2


def _options(lang: str, *, has_scripts: bool) -> webdriver.ChromeOptions:
    options = webdriver.ChromeOptions()
    # Chromium cannot make its own cage inside a container, and /dev/shm is small there.
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", f"--lang={lang}"):
        options.add_argument(flag)
    wanted = {"intl.accept_languages": lang}
    if not has_scripts:
        wanted["profile.managed_default_content_settings.javascript"] = _BLOCKED
    options.add_experimental_option("prefs", wanted)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return options


class Served(Protocol):
    """A gateway, wherever it runs."""

    url: str


class Browser:
    """A browser that looks at one gateway."""

    def __init__(self, gateway: Served, lang: str, *, has_scripts: bool = True) -> None:
        self.gateway = gateway
        self.lang = lang
        # Selenium would ask the network where the driver is.
        driver = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=_options(lang, has_scripts=has_scripts), service=driver)
        self.driver.set_page_load_timeout(20)

    def show(self, path: str, *, width: int = 1280, height: int = 900, is_dark: bool = False) -> None:
        """Open a page."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(self.gateway.url + path)

    def look(self, path: str, *, width: int = 1280, is_dark: bool = False) -> None:
        """Open a page and check that the browser has nothing to complain about."""
        self.show(path, width=width, is_dark=is_dark)
        complaints = [entry["message"] for entry in self.driver.get_log("browser")]
        # A page of an error is noted by its status; everything else would be ours to mend.
        assert not [text for text in complaints if "the server responded with a status of 4" not in text], complaints

    def accessibility_faults(self) -> list[Any]:
        """Give what axe-core has against the page that is shown, each fault with the first place that has it."""
        self.driver.execute_script((importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text())
        found: list[Any] = self.driver.execute_async_script(_CHECK)
        return found

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def wait_for_page(self, path: str) -> None:
        """Wait until a click or a key has led to a page."""
        eventually(lambda: path in self.driver.current_url, what=f"the page {path}")
        eventually(lambda: self.all("footer"), what=f"the whole of {path}")
