"""The HTML of answers that no link leads to: to forms, to strangers, and where there is nothing or no NATS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import HELLO_FLOW
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway
from tests.support.html_validator import html_faults
from tests.support.nats import NatsServer
from tests.support.office import Office
from tests.support.pages import SCRIPT, read
from tests.support.parts import Parts, stored_run
from tests.support.waiting import eventually
from tests.support.wheels import file_name, wheel

_OWN = {"Sec-Fetch-Site": "same-origin"}
_EMPTY = ("/", "/ui/runs", "/ui/runs?q=x", "/ui/queues", "/ui/workers", "/ui/wheels", "/ui/dead-letters", "/ui/submit")
_STRANGERS = ("/", "/ui/runs")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalGateway, NatsServer]]:
    """A gateway with nothing in it, and the NATS that a test may stop."""
    nats = NatsServer(tmp_path_factory.mktemp("small") / "nats").start()
    gateway = LocalGateway(nats)
    gateway.wait_until_complete()
    yield gateway, nats
    gateway.stop()
    nats.stop()


def _answers_to_forms(gateway: LocalGateway, lang: str) -> Iterator[tuple[str, requests.Response]]:
    """Send what is refused in each way, and what has an outcome to show."""
    headers = {"Accept-Language": lang, **_OWN}
    file = file_name("acme", "1.0")

    def post(path: str, **options: Any) -> requests.Response:
        return gateway.ask("POST", path, headers={**headers, **options.pop("headers", {})}, **options)

    flow = {"flow_name": SCRIPT[:50], "params": "no JSON"}
    yield "refused", post("/ui/submit", data={"workflow": f"version: 1\nflow: {SCRIPT}\n", **flow})
    yield "faulty", post("/ui/submit", data={"workflow": "version: 2\nflows: 1\n", "flow_name": "main"})
    yield "checked", post("/ui/submit", data={"workflow": HELLO_FLOW, "flow_name": "main", "check": "1"})
    yield "again", post("/ui/rerun", data={"from": "all", "once": f"key-{lang}", "run": ["broke", "live", "none"]})
    yield "replayed", post("/ui/dead-letters/replay", data={"all": "true"})
    yield "removed", post("/ui/dead-letters/remove", data={"all": "true"})
    yield "no wheel", post("/ui/wheels", files={"wheel": (SCRIPT, b"none")})
    for _ in range(2):
        yield "the same wheel", post("/ui/wheels", files={"wheel": (file, wheel("acme", "1.0"))})
    yield "not drained", post("/ui/workers/gone/drain")
    yield "from another site", post("/ui/cancel", headers={"Sec-Fetch-Site": "cross-site"})
    yield "nothing ticked", post("/ui/cancel")
    yield "not to be posted", post("/ui/queues")
    for name in ("main", ""):
        yield "too large", post("/ui/submit", data={"workflow": "x" * 2_000_000, "flow_name": name})


def _furnish(gateway: LocalGateway, nats: NatsServer) -> None:
    with Parts(nats.url) as parts:
        parts.put("broke", stored_run("broke", status="FAILED", error=SCRIPT, flow_name=SCRIPT[:20]))
        revision = parts.put("live", stored_run("live", status="RUNNING"))
        now = time.time()
        gone = {"worker_id": "gone", "instance_id": "i", "state": "IDLE", "tags": ["a"], "last_seen_at": now - 1000}
        parts.put("gone", {**gone, "updated_at": now}, bucket="pyoco_workers")
        office = Office(gateway, parts)
        office.fail(flow_name=SCRIPT[:20])
        office.fail(is_kept=False)
    gateway.wait_until_applied(revision)
    eventually(lambda: gateway.parts.model.workers(), what="the worker known")


def test_answers_that_no_link_leads_to_are_valid_html(
    small: tuple[LocalGateway, NatsServer], guarded: Guarded, tmp_path: Path
) -> None:
    gateway, nats = small
    pages: dict[str, str] = {}

    def keep(name: str, answer: requests.Response, lang: str) -> None:
        pages[f"{lang} {name} {answer.status_code} {len(pages)}"] = read(
            answer, lang=lang, status=answer.status_code
        ).html

    for lang in ("en", "ja"):
        for path in _EMPTY:
            keep(f"empty {path}", gateway.get(path, headers={"Accept-Language": lang}), lang)
        for path in _STRANGERS:
            keep(f"stranger {path}", guarded.gateway.get(path, headers={"Accept-Language": lang}), lang)
        wrong = guarded.gateway.ask(
            "POST", "/ui/sign-in", data={"key": SCRIPT}, headers={"Accept-Language": lang, **_OWN}
        )
        keep("refused key", wrong, lang)
    _furnish(gateway, nats)
    for lang in ("en", "ja"):
        for name, answer in _answers_to_forms(gateway, lang):
            keep(name, answer, lang)
    nats.stop()
    eventually(lambda: gateway.get("/ui/runs").status_code == 503, what="the loss of NATS being noticed")
    for lang in ("en", "ja"):
        keep("away", gateway.get("/ui/runs", headers={"Accept-Language": lang}), lang)
        keep("away", gateway.ask("POST", "/ui/runs/x/cancel", headers={"Accept-Language": lang, **_OWN}), lang)
    statuses = {name.split()[-2] for name in pages}
    assert statuses == {"200", "401", "403", "405", "409", "413", "422", "503"}
    assert html_faults(pages, tmp_path) == []
