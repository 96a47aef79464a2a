"""The object store of the wheels: whole objects or none, and the same ones for other clients of NATS."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import nats as nats_py
import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.contract.wheels import Actor, Source, WheelEvent, wheel_headers
from pyoco_server.errors import BusError, BusUnavailable, RevisionConflict, WheelNotFound
from pyoco_server.stores.wheels import StoredWheel, WheelHistory, WheelStore
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.wheels import chunk_subjects

BUCKET, STREAM = "pyoco_wheels", "OBJ_pyoco_wheels"
NAME = "demo-1.0-py3-none-any.whl"
#: More than three pieces.
DATA = bytes(range(256)) * 1700


@pytest.fixture
def store(parts: Parts) -> WheelStore:
    return WheelStore(parts.bus, parts.config)


def put(store: WheelStore, name: str = NAME, data: bytes = DATA, tags: list[str] | None = None) -> StoredWheel:
    headers = wheel_headers(hashlib.sha256(data).hexdigest(), tags or [])
    return store.publish(name, store.store(io.BytesIO(data)), headers, revision=store.revision())


def ask_as_other(nats: NatsServer, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    """Do something with the store as any other client of NATS does."""

    async def connected() -> Any:
        connection = await nats_py.connect(nats.url)
        try:
            return await ask(await connection.jetstream().object_store(BUCKET))
        finally:
            await connection.close()

    return asyncio.run(connected())


def test_a_wheel_comes_back_as_it_was_stored(store: WheelStore) -> None:
    put(store, tags=["a", "b"])
    found = store.get(NAME)
    assert b"".join(store.chunks(found)) == DATA
    assert found.tags == ["a", "b"]
    entry = found.to_document()
    assert entry["size_bytes"] == len(DATA)
    assert entry["sha256_hex"] == hashlib.sha256(DATA).hexdigest()
    assert entry["digest"] == "SHA-256=" + base64.urlsafe_b64encode(hashlib.sha256(DATA).digest()).decode()
    assert abs(entry["modified"] - found.info.modified_at) < 1


def test_another_client_reads_lists_and_deletes_what_we_stored(nats: NatsServer, store: WheelStore) -> None:
    put(store, tags=["a"])
    found = ask_as_other(nats, lambda objects: objects.get(NAME))
    assert found.data == DATA
    assert found.info.headers["x-pyoco-wheel-tags"] == "a"
    ask_as_other(nats, lambda objects: objects.delete(NAME))
    with pytest.raises(WheelNotFound):
        store.get(NAME)


def test_what_another_client_stored_is_listed_read_and_deleted(
    nats: NatsServer, store: WheelStore, parts: Parts
) -> None:
    ask_as_other(nats, lambda objects: objects.put("some/thing", DATA))
    (found,), _ = store.list()
    assert (found.info.name, found.tags) == ("some/thing", [])
    assert b"".join(store.chunks(found)) == DATA
    store.delete(found)
    assert store.list()[0] == []
    assert not chunk_subjects(parts)
    with pytest.raises(Exception, match="ObjectNotFound"):
        ask_as_other(nats, lambda objects: objects.get("some/thing"))


def test_what_is_no_description_is_left_out_of_the_list(store: WheelStore, parts: Parts) -> None:
    put(store)
    for number, payload in enumerate((b"", b"[]", b"{}", b'{"name": "x", "bucket": "b", "nuid": "n", "size": "many"}')):
        parts.bus.write(Write(names.object_subject(BUCKET, f"junk{number}"), payload))
    assert [wheel.info.name for wheel in store.list()[0]] == [NAME]


@pytest.mark.parametrize("change", ["another upload", "a delete"])
def test_a_wheel_is_not_listed_when_anything_has_changed_since_it_was_judged(store: WheelStore, change: str) -> None:
    other = put(store, "other-1.0-py3-none-any.whl")
    revision = store.revision()
    if change == "a delete":
        store.delete(other)
    else:
        put(store, "third-1.0-py3-none-any.whl")
    content = store.store(io.BytesIO(DATA))
    with pytest.raises(RevisionConflict):
        store.publish(NAME, content, {}, revision=revision)
    with pytest.raises(WheelNotFound):
        store.get(NAME)
    store.publish(NAME, content, {}, revision=store.revision())
    assert store.get(NAME).info.size == len(DATA)


def test_a_delete_of_what_was_written_anew_is_refused(store: WheelStore) -> None:
    first = put(store)
    put(store, data=b"x" * 10)
    with pytest.raises(RevisionConflict):
        store.delete(first)
    assert b"".join(store.chunks(store.get(NAME))) == b"x" * 10


def test_content_that_was_changed_behind_its_description_is_not_given_to_its_end(
    store: WheelStore, parts: Parts
) -> None:
    found = put(store)
    parts.bus.api(f"STREAM.PURGE.{STREAM}", {"filter": names.chunk_subject(BUCKET, found.info.nuid), "keep": 2})
    for number in range(2):
        parts.bus.write(Write(names.chunk_subject(BUCKET, found.info.nuid), bytes(131_072), msg_id=f"evil{number}"))
    given = b""
    with pytest.raises(BusError, match="not what its description says"):
        for chunk in store.chunks(found):
            given += chunk
    assert len(given) < len(DATA)


def test_a_wheel_that_is_deleted_while_it_is_read_is_not_found(store: WheelStore) -> None:
    found = put(store)
    chunks = store.chunks(found)
    next(chunks)
    store.delete(found)
    with pytest.raises(WheelNotFound):
        list(chunks)


class FailingStream(io.BytesIO):
    """Breaks after the first piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError("the disk is gone")
        return super().read(size)


def test_content_that_could_not_be_stored_as_a_whole_is_removed(store: WheelStore, parts: Parts) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        store.store(FailingStream(DATA))
    assert not chunk_subjects(parts)
    assert store.list()[0] == []


def test_nats_away_is_said_within_the_patience_of_a_request(nats: NatsServer, store: WheelStore) -> None:
    put(store)
    nats.stop()
    for call in (store.revision, store.list, lambda: put(store), lambda: store.get(NAME)):
        with pytest.raises(BusUnavailable):
            call()


@pytest.fixture
def history(parts: Parts) -> Iterator[WheelHistory]:
    yield WheelHistory(parts.bus, parts.config)


def event(number: int, action: str = "upload") -> WheelEvent:
    name = f"demo-{number % 2}.0-py3-none-any.whl"
    return WheelEvent(1_700_000_000.0 + number, action, name, [], 1, "ff", True, Actor(), Source())


def test_the_history_gives_the_newest_events_first(history: WheelHistory) -> None:
    assert history.newest(10) == []
    for number in range(230):
        history.add(event(number, "delete" if number == 3 else "upload"))
    assert [found["occurred_at"] for found in history.newest(3)] == [1_700_000_000.0 + n for n in (229, 228, 227)]
    assert len(history.newest(500)) == 230
    assert [found["occurred_at"] for found in history.newest(1, action="delete")] == [1_700_000_003.0]
    assert {found["wheel_name"] for found in history.newest(9, wheel_name="demo-1.0-py3-none-any.whl")} == {
        "demo-1.0-py3-none-any.whl"
    }


def test_what_is_no_event_is_left_out_of_the_history(history: WheelHistory, parts: Parts) -> None:
    history.add(event(1))
    parts.bus.write(Write(names.key_subject("pyoco_wheel_history", "9_x"), b"junk"))
    assert len(history.newest(10)) == 1


def test_events_are_kept_for_ninety_days(parts: Parts) -> None:
    assert parts.info("KV_pyoco_wheel_history")["config"]["max_age"] == 90 * 86400 * 10**9
