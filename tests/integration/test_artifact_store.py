"""The store of the artifacts: whole files or none, however NATS forgets them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import nats as nats_py
import pytest

from pyoco_server.bridge.messages import Write
from pyoco_server.contract import names
from pyoco_server.contract.artifacts import content_place, object_name
from pyoco_server.errors import ArtifactNotFound
from pyoco_server.stores.artifacts import ArtifactStore
from tests.support.artifacts import put
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

STREAM = "OBJ_pyoco_artifacts"
#: More than three pieces.
DATA = os.urandom(400_000)


@pytest.fixture
def kept(calm_nats: NatsServer) -> Iterator[tuple[Parts, ArtifactStore, str]]:
    """A store, and a run that no other test uses."""
    with Parts(calm_nats.url) as parts:
        yield parts, ArtifactStore(parts.bus), f"run-{os.urandom(4).hex()}"


Kept = tuple[Parts, ArtifactStore, str]


def listed(store: ArtifactStore, run_id: str) -> list[tuple[str, int]]:
    return [(item.name, item.attempt) for item in store.of_run(run_id)]


def contents(parts: Parts, run_id: str) -> dict[str, int]:
    pattern = names.chunk_subject("pyoco_artifacts", f"{content_place(run_id)}.>")
    found: dict[str, int] = parts.info(STREAM, subjects_filter=pattern)["state"].get("subjects") or {}
    return found


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "small", "several pieces"])
def test_a_file_comes_back_as_it_was_saved(kept: Kept, data: bytes) -> None:
    _, store, run_id = kept
    put(store, run_id, "a/b.txt", data, task="t", type_name="str")
    (found,) = store.of_run(run_id)
    assert b"".join(store.chunks(run_id, found)) == data
    entry = found.to_document()
    assert (entry["name"], entry["attempt"], entry["task"], entry["size_bytes"]) == ("a/b.txt", 1, "t", len(data))


def test_the_newest_attempt_comes_first_and_any_can_be_asked_for(kept: Kept) -> None:
    _, store, run_id = kept
    for attempt in (1, 2, 10):
        put(store, run_id, "x", str(attempt).encode(), attempt=attempt)
    put(store, run_id, "only in the first", b"", attempt=1)
    assert listed(store, run_id) == [("x", 10), ("x", 2), ("only in the first", 1), ("x", 1)]
    assert store.get(run_id, "x").attempt == 10
    assert store.get(run_id, "x", 2).attempt == 2
    assert store.get(run_id, "only in the first").attempt == 1
    with pytest.raises(ArtifactNotFound):
        store.get(run_id, "x", 3)


def test_runs_and_names_that_are_alike_are_kept_apart(kept: Kept) -> None:
    _, store, run_id = kept
    put(store, run_id, "a", b"1")
    put(store, f"{run_id}.a", "a", b"2")
    put(store, run_id, "a.b", b"3")
    put(store, run_id, "日本 *>.txt", b"4")
    assert listed(store, run_id) == [("a", 1), ("a.b", 1), ("日本 *>.txt", 1)]
    assert listed(store, f"{run_id}.a") == [("a", 1)]
    assert b"".join(store.chunks(run_id, store.get(run_id, "日本 *>.txt"))) == b"4"


@pytest.mark.parametrize("name", ["", "../x", "/x", "x/", "x" * 2_000, "\ud800", "a\nb"])
def test_what_can_be_no_name_is_not_found(kept: Kept, name: str) -> None:
    _, store, run_id = kept
    with pytest.raises(ArtifactNotFound):
        store.get(run_id, name)


def test_a_file_whose_first_piece_was_forgotten_is_not_offered(kept: Kept) -> None:
    parts, store, run_id = kept
    found = put(store, run_id, "large", DATA)
    put(store, run_id, "small", b"x")
    reading = store.chunks(run_id, found)
    subject = names.chunk_subject("pyoco_artifacts", found.info.nuid)
    parts.bus.api(f"STREAM.PURGE.{STREAM}", {"filter": subject, "keep": found.info.chunks - 1})
    assert listed(store, run_id) == [("small", 1)]
    with pytest.raises(ArtifactNotFound, match="not kept any more"):
        store.get(run_id, "large")
    with pytest.raises(ArtifactNotFound):
        list(reading)


def test_a_file_whose_description_was_forgotten_is_not_offered(kept: Kept) -> None:
    parts, store, run_id = kept
    put(store, run_id, "x", DATA)
    subject = names.object_subject("pyoco_artifacts", object_name(run_id, 1, "x"))
    parts.bus.api(f"STREAM.PURGE.{STREAM}", {"filter": subject})
    assert listed(store, run_id) == []


def test_an_upload_that_ended_half_way_is_not_offered_beside_a_whole_one(kept: Kept) -> None:
    parts, store, run_id = kept
    put(store, run_id, "x", b"whole")
    upload = store.begin(run_id, 1, "x")
    upload.add(b"half")
    found = store.get(run_id, "x")
    assert b"".join(store.chunks(run_id, found)) == b"whole"
    assert len(contents(parts, run_id)) == 2
    store.discard(upload.nuid)
    assert listed(store, run_id) == [("x", 1)]


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"name": 5}'])
def test_a_description_that_is_none_is_passed_over(kept: Kept, payload: bytes) -> None:
    parts, store, run_id = kept
    put(store, run_id, "x", b"x")
    subject = names.object_subject("pyoco_artifacts", object_name(run_id, 1, "x"))
    parts.bus.write(Write(subject, payload, is_rollup=True))
    assert listed(store, run_id) == []


def test_content_that_others_have_put_there_is_passed_over(kept: Kept) -> None:
    parts, store, run_id = kept
    put(store, run_id, "x", b"x")
    place = content_place(run_id).split(".")[0]
    for rest in ("1.!!!.u", "one.eA==.u", "1.eA==.u.v"):
        parts.bus.write(Write(names.chunk_subject("pyoco_artifacts", f"{place}.{rest}"), b"x"))
    assert listed(store, run_id) == [("x", 1)]


def test_another_client_of_nats_reads_what_a_worker_has_stored(kept: Kept, calm_nats: NatsServer) -> None:
    _, store, run_id = kept
    put(store, run_id, "a/b", DATA)

    async def read() -> Any:
        connection = await nats_py.connect(calm_nats.url)
        try:
            objects = await connection.jetstream().object_store("pyoco_artifacts")
            return await objects.get(f"{run_id}/1/a/b"), [info.name for info in await objects.list()]
        finally:
            await connection.close()

    found, listing = asyncio.run(read())
    assert found.data == DATA
    assert f"{run_id}/1/a/b" in listing


def test_a_full_store_forgets_the_oldest_files_as_a_whole(nats: NatsServer, make: Callable[..., Parts]) -> None:
    parts = make(PYOCO_ARTIFACTS_MAX_BYTES="1000000")
    store = ArtifactStore(parts.bus)
    for number in range(6):
        put(store, f"r{number}", "x", DATA)
    kept = [number for number in range(6) if listed(store, f"r{number}")]
    assert kept in ([4, 5], [5])
    for number in kept:
        assert b"".join(store.chunks(f"r{number}", store.get(f"r{number}", "x"))) == DATA
    assert parts.info(STREAM)["state"]["bytes"] <= 1_000_000


def test_files_are_forgotten_by_their_age(nats: NatsServer, make: Callable[..., Parts]) -> None:
    parts = make(PYOCO_ARTIFACTS_MAX_AGE_SEC="1.5")
    store = ArtifactStore(parts.bus)
    put(store, "r", "x", DATA)
    assert listed(store, "r") == [("x", 1)]
    eventually(lambda: not listed(store, "r"), what="the end of the file")
    eventually(lambda: parts.info(STREAM)["state"]["messages"] == 0, what="the end of all that belonged to it")


@pytest.fixture
def make(nats: NatsServer) -> Iterator[Callable[..., Parts]]:
    """Makes the stores with settings of their own."""
    made: list[Parts] = []

    def make_one(**env: str) -> Parts:
        made.append(Parts(nats.url, **env).__enter__())
        return made[-1]

    yield make_one
    for parts in made:
        parts.__exit__(None, None, None)
