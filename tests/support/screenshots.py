"""Pictures of every page, light and dark, wide and narrow: ``python -m tests.support.screenshots FOLDER``."""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

from tests.support.browser import Browser
from tests.support.gateway import LocalGateway
from tests.support.keys import GuardedGateway
from tests.support.nats import NatsServer
from tests.support.showcase import FAILED, RUNNING, fill
from tests.support.waiting import eventually

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
#: Of an installation in which nothing has happened yet.
EMPTY_PAGES = {"empty-overview": "/", "empty-runs": "/ui/runs", "empty-workers": "/ui/workers"}
#: Where keys are asked for, and while NATS is away.
SIGN_IN_PAGES, AWAY_PAGES = {"sign-in": "/"}, {"nats-away": "/ui/runs"}
#: Widths in pixels: a phone, a desk.
WIDTHS = (390, 1280)


def take(folder: Path) -> None:
    """Write ``<page>-<en|ja>-<width>-<light|dark>.png`` for each page."""
    with tempfile.TemporaryDirectory() as scratch:
        nats = NatsServer(Path(scratch) / "nats").start()
        gateway, guarded = LocalGateway(nats), GuardedGateway(nats)
        try:
            gateway.wait_until_complete()
            _take_all(gateway, EMPTY_PAGES, folder)
            _take_all(guarded, SIGN_IN_PAGES, folder)
            fill(gateway)
            _take_all(gateway, PAGES, folder)
            nats.stop()
            eventually(lambda: gateway.get("/ui/runs").status_code == 503, what="the loss of NATS being noticed")
            _take_all(gateway, AWAY_PAGES, folder)
        finally:
            guarded.stop()
            gateway.stop()
            nats.stop()


def _take_all(gateway: LocalGateway, pages: dict[str, str], folder: Path) -> None:
    for lang in ("en", "ja"):
        browser = Browser(gateway, lang)
        try:
            for name, path in pages.items():
                for width in WIDTHS:
                    for is_dark in (False, True):
                        browser.show(path, width=width, is_dark=is_dark)
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
