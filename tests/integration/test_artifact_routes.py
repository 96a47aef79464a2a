"""``/runs/{id}/artifacts``: what is listed, what comes with the bytes, and whose they are."""

from __future__ import annotations

import hashlib
import os
from urllib.parse import quote

import pytest

from pyoco_server.stores.artifacts import ArtifactStore
from tests.integration.conftest import Guarded
from tests.support.artifacts import put
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts

DATA = os.urandom(400_000)


@pytest.fixture
def store(shared_parts: Parts) -> ArtifactStore:
    return ArtifactStore(shared_parts.bus)


def test_the_list_tells_what_there_is_of_every_attempt(shared: LocalGateway, store: ArtifactStore) -> None:
    run_id = shared.submit()
    assert shared.get(f"/runs/{run_id}/artifacts").json() == []
    put(store, run_id, "out/plot.png", b"1", attempt=1, task="draw")
    put(store, run_id, "out/plot.png", b"22", attempt=2, task="draw")
    put(store, run_id, "notes", b"", attempt=2, type_name="str")
    answer = shared.get(f"/runs/{run_id}/artifacts")
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json()
    assert [entry.pop("created_at") > 1.7e9 for entry in found] == [True] * 3
    assert found == [
        {
            "name": name,
            "attempt": attempt,
            "task": task,
            "size_bytes": len(data),
            "content_type": kind,
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        for name, attempt, task, data, kind in (
            ("notes", 2, None, b"", "text/plain; charset=utf-8"),
            ("out/plot.png", 2, "draw", b"22", "image/png"),
            ("out/plot.png", 1, "draw", b"1", "image/png"),
        )
    ]


def test_the_bytes_come_as_a_file_that_no_browser_runs(shared: LocalGateway, store: ArtifactStore) -> None:
    run_id = shared.submit()
    put(store, run_id, "a/page.html", DATA)
    answer = shared.get(f"/runs/{run_id}/artifacts/a/page.html")
    assert answer.content == DATA
    headers = answer.headers
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Disposition"] == 'attachment; filename="page.html"'
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["ETag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert headers["Content-Length"] == str(len(DATA))
    again = shared.get(f"/runs/{run_id}/artifacts/a/page.html", headers={"If-None-Match": headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert shared.ask("HEAD", f"/runs/{run_id}/artifacts/a/page.html").headers["Content-Length"] == str(len(DATA))


@pytest.mark.parametrize("name", ["日本語 100%.txt", 'quote" and \\.txt', "a b;c=d.txt", "semi%2Fslash"])
def test_any_name_can_be_asked_for_and_comes_back(shared: LocalGateway, store: ArtifactStore, name: str) -> None:
    run_id = shared.submit()
    put(store, run_id, name, b"x")
    answer = shared.get(f"/runs/{run_id}/artifacts/{quote(name)}")
    assert answer.content == b"x"
    disposition = answer.headers["Content-Disposition"]
    assert disposition.isascii() and disposition.count('"') == 2
    if not name.isascii():
        assert disposition.endswith(f"filename*=UTF-8''{quote(name, safe='')}")


def test_an_attempt_can_be_asked_for(shared: LocalGateway, store: ArtifactStore) -> None:
    run_id = shared.submit()
    for attempt in (1, 2):
        put(store, run_id, "x", str(attempt).encode(), attempt=attempt)
    assert shared.get(f"/runs/{run_id}/artifacts/x").content == b"2"
    assert shared.get(f"/runs/{run_id}/artifacts/x?attempt=1").content == b"1"
    assert shared.get(f"/runs/{run_id}/artifacts/x?attempt=3").status_code == 404
    for wrong in ("0", "-1", "x", "1.5", "9" * 30):
        refused = shared.get(f"/runs/{run_id}/artifacts/x?attempt={wrong}")
        assert (refused.status_code, refused.json()["err_id"]) == (422, "ERR-PYOCO-0002"), wrong


@pytest.mark.parametrize(
    "name", ["missing", "../x", "%2e%2e/x", "x/", "/x", "x//y", "n" * 5_000, "a%00b", "a%0Ab", "%ff"]
)
def test_a_file_that_is_not_there_is_said_to_be_so(shared: LocalGateway, store: ArtifactStore, name: str) -> None:
    run_id = shared.submit()
    put(store, run_id, "x", b"x")
    answer = shared.get(f"/runs/{run_id}/artifacts/{name}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_files_of_a_run_that_does_not_exist_do_not_exist(shared: LocalGateway, store: ArtifactStore) -> None:
    put(store, "no-run", "x", b"x")
    for path in ("/runs/no-run/artifacts", "/runs/no-run/artifacts/x"):
        assert shared.get(path).json()["err_id"] == "ERR-PYOCO-0005"


def test_another_tenants_files_do_not_exist(guarded: Guarded) -> None:
    acme, zeta = guarded.known_key("acme"), guarded.known_key("zeta")
    run_id = guarded.gateway.submit_with(acme)
    put(ArtifactStore(guarded.parts.bus), run_id, "x", b"x")
    for path in (f"/runs/{run_id}/artifacts", f"/runs/{run_id}/artifacts/x"):
        assert guarded.gateway.with_key(acme, "GET", path).status_code == 200
        refused = guarded.gateway.with_key(zeta, "GET", path)
        assert (refused.status_code, refused.json()["err_id"]) == (404, "ERR-PYOCO-0005")
        assert guarded.gateway.get(path).status_code == 401


def test_nats_away_is_said_and_no_connection_hangs(local: LocalGateway, parts: Parts, nats: NatsServer) -> None:
    run_id = local.submit()
    put(ArtifactStore(parts.bus), run_id, "x", b"x")
    nats.stop()
    for path in (f"/runs/{run_id}/artifacts", f"/runs/{run_id}/artifacts/x"):
        answer = local.get(path)
        assert (answer.status_code, answer.json()["err_id"]) == (503, "ERR-PYOCO-0003")
        assert "Retry-After" in answer.headers
