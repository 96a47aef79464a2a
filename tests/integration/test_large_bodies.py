"""Requests that are refused leave nothing behind in the gateway's memory."""

from __future__ import annotations

import gc
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from pyoco_server.errors import TooMuchInWork
from pyoco_server.gateway import uploads
from pyoco_server.gateway.app import create_app
from pyoco_server.gateway.limits import MAX_BODY_BYTES
from tests.integration.conftest import Guarded
from tests.support.gateway import LocalGateway, problem

MARK = "mark-of-this-test"
PARAMS = {MARK: [1]}
#: Over the cap of snapshots.
LARGE_PARAMS = {MARK: ["x" * 300_000]}
RUN = {"flow_name": "f", "params": PARAMS}
KEY = {"Idempotency-Key": "one"}

REQUESTS: dict[str, tuple[int, str, dict[str, Any]]] = {
    "run too large": (413, "/runs", {"json": {"flow_name": "f", "params": LARGE_PARAMS}}),
    "run of no flow": (422, "/runs", {"json": {"params": PARAMS}}),
    "no key": (422, "/runs", {"json": RUN, "headers": {"Idempotency-Key": "x" * 300}}),
    "key of another": (422, "/runs", {"json": {**RUN, "params": {MARK: [2]}}, "headers": KEY}),
    "key again": (200, "/runs", {"json": RUN, "headers": KEY}),
    "no workflow": (422, f"/runs/yaml?flow_name=f&params={json.dumps(PARAMS)}", {"data": "x: y"}),
    "batch of faults": (200, "/runs/batch", {"json": {"runs": [{"params": PARAMS}, RUN]}}),
    "batch of too large": (200, "/runs/batch", {"json": {"runs": [{**RUN, "params": LARGE_PARAMS}]}}),
    "batch of no workflow": (422, "/runs/batch", {"json": {"workflow": "x", "flow_name": "f", "params": [PARAMS]}}),
}


@pytest.fixture
def garbage() -> Iterator[Callable[[], list[Any]]]:
    """Gives what was kept since the test began by nothing but itself, in cycles."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)

    def look() -> list[Any]:
        gc.collect()
        return list(gc.garbage)

    yield look
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.parametrize("name", REQUESTS)
def test_a_refused_request_is_forgotten_at_once(
    shared: LocalGateway, garbage: Callable[[], list[Any]], name: str
) -> None:
    # Whose key it is.
    assert shared.ask("POST", "/runs", json=RUN, headers=KEY).status_code == 200
    status, path, options = REQUESTS[name]
    for _ in range(3):
        assert shared.ask("POST", path, **options).status_code == status
    left = [item for item in garbage() if isinstance(item, dict) and MARK in item]
    assert not left, f"{len(left)} bodies are kept until Python looks for cycles"


@pytest.mark.long
def test_the_body_of_a_request_that_waits_keeps_no_other_from_its_turn(shared: LocalGateway) -> None:
    run_id = shared.submit()
    with ThreadPoolExecutor(12) as waiting:
        asked = [waiting.submit(shared.get, f"/runs/{run_id}?wait=5", data=b"x" * 2_000_000) for _ in range(12)]
        # It would wait for less than they do.
        assert shared.ask("POST", "/runs", json={"flow_name": "f", "params": {"x": "y" * 100_000}}).status_code == 200
        assert {one.result().status_code for one in asked} == {200}


def test_fields_of_a_form_beside_a_wheel_are_not_kept_in_memory_beyond_a_little(guarded: Guarded) -> None:
    key = guarded.known_key("acme")
    form = {"wheel": ("a-1-py3-none-any.whl", b"x"), "tags": (None, "a" * 1_000_000)}
    problem(guarded.gateway.with_key(key, "POST", "/wheels", files=form), 413)


def test_a_body_in_chunks_takes_the_room_of_the_largest(local: LocalGateway) -> None:
    """As under a WSGI server that hands chunks on as they come, and so cannot say how many there will be."""
    client = create_app(local.parts).test_client()
    sent = {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(json.dumps(RUN).encode()), "CONTENT_LENGTH": ""}
    chunked = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}

    def status() -> int:
        sent["wsgi.input"].seek(0)
        return client.post("/runs", headers=chunked, environ_overrides=sent).status_code

    assert status() == 200
    room = local.parts.room
    room._wait_sec = 0.1
    held = []
    with pytest.raises(TooMuchInWork):
        while True:
            held.append(room.take(MAX_BODY_BYTES))
    assert status() == 503
    for size_bytes in held:
        room.release(size_bytes)
    assert status() == 200


def test_a_form_opens_few_files(shared: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def open_one() -> Any:
        opened.append(tempfile.TemporaryFile())
        return opened[-1]

    monkeypatch.setattr(uploads, "tempfile", SimpleNamespace(TemporaryFile=open_one))
    files = [("file", (f"f{number}", b"x" * 1_000)) for number in range(900)]
    problem(shared.ask("POST", "/runs/yaml", files=files), 413)
    assert 0 < len(opened) <= 64
    assert all(each.closed for each in opened)
