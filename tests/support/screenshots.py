"""Pictures of every page, light and dark, wide and narrow: ``python -m tests.support.screenshots FOLDER``."""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

from tests.support.browser import Browser
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.showcase import FAILED, RUNNING, fill

PAGES = {
    "overview": "/",
    "runs": "/ui/runs",
    "runs-failed": "/ui/runs?status=FAILED",
    "run-failed": f"/ui/runs/{FAILED}",
    "run-running": f"/ui/runs/{RUNNING}?task=convert_currency",
    "queues": "/ui/queues",
    "workers": "/ui/workers",
    "worker": "/ui/workers/tokyo-1",
    "worker-failing": "/ui/workers/kyoto-1",
    "wheels": "/ui/wheels",
    "dead-letters": "/ui/dead-letters",
    "submit": f"/ui/submit?from={FAILED}",
    "nothing-here": "/ui/nothing-here",
}
#: Widths in pixels: a phone, a desk.
WIDTHS = (390, 1280)


def take(folder: Path) -> None:
    """Write ``<page>-<en|ja>-<width>-<light|dark>.png`` for each page."""
    with tempfile.TemporaryDirectory() as scratch:
        nats = NatsServer(Path(scratch) / "nats").start()
        gateway = LocalGateway(nats)
        try:
            gateway.wait_until_complete()
            fill(gateway)
            for lang in ("en", "ja"):
                _take_all(gateway, lang, folder)
        finally:
            gateway.stop()
            nats.stop()


def _take_all(gateway: LocalGateway, lang: str, folder: Path) -> None:
    browser = Browser(gateway, lang)
    try:
        for name, path in PAGES.items():
            for width in WIDTHS:
                for is_dark in (False, True):
                    browser.look(path, width=width, is_dark=is_dark)
                    options = {"captureBeyondViewport": True, "format": "png"}
                    picture = browser.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
                    look = "dark" if is_dark else "light"
                    (folder / f"{name}-{lang}-{width}-{look}.png").write_bytes(base64.b64decode(picture))
    finally:
        browser.driver.quit()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    take(target)
    print(f"{len(list(target.glob('*.png')))} pictures in {target}")
