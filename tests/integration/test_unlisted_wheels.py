"""What uploads leave in the object store that end in between: it is removed, and nothing that is still needed is."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from pyoco_server.bridge import objects
from pyoco_server.bridge.messages import Write
from pyoco_server.bridge.object_documents import Content
from pyoco_server.bridge.objects import CHUNK_BYTES, ObjectStore
from pyoco_server.contract import names
from pyoco_server.errors import BusUnavailable, RevisionConflict
from pyoco_server.gateway import dispatcher
from tests.conftest import Gateway
from tests.support.commands import Daemon
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually
from tests.support.wheels import chunk_subjects, file_name, wheel

BUCKET = "pyoco_wheels"
DATA = bytes(CHUNK_BYTES + 1)


@pytest.fixture
def store(parts: Parts) -> ObjectStore:
    return ObjectStore(parts.bus, BUCKET)


@pytest.fixture
def forget_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how old content must be to be removed, in seconds."""
    return lambda sec: monkeypatch.setattr(objects, "UNLISTED_SEC", sec)


@pytest.fixture
def killed(start: Callable[..., Daemon], nats: NatsServer, parts: Parts) -> None:
    """A gateway that was killed while it stored the pieces of a wheel."""
    gateway = Gateway(start, nats)
    files = {"wheel": (file_name(), wheel(files={"demo/data": os.urandom(40_000_000)}))}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(requests.post, f"{gateway.url}/wheels", files=files, timeout=60)
        eventually(lambda: chunk_subjects(parts), what="the first piece")
        gateway.daemon.kill()
        assert isinstance(answer.exception(), requests.ConnectionError)


@pytest.mark.long
def test_what_a_killed_gateway_has_left_of_an_upload_is_removed_by_another(
    killed: None,
    parts: Parts,
    serve: Callable[..., LocalGateway],
    forget_after: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(chunk_subjects(parts)) == 1
    monkeypatch.setattr(dispatcher, "_WHEELS_SEC", 0.1)
    forget_after(1.0)
    gateway = serve()
    eventually(lambda: not chunk_subjects(parts), what="the content being removed")
    # Uploads that are not done in time are refused.
    forget_after(3600.0)
    for name in ("other", file_name()):
        put(ObjectStore(parts.bus, BUCKET), name)
        gateway.ask("DELETE", f"/wheels/{name}")
    forget_after(1.0)
    eventually(lambda: len(descriptions(parts)) == 1, what="the description of what was deleted first being removed")
    assert gateway.get("/wheels").json() == []


def put(store: ObjectStore, name: str) -> Content:
    content = store.store(io.BytesIO(DATA))
    store.publish(name, content, {}, revision=store.revision())
    return content


def test_what_an_ended_upload_has_left_is_removed_and_what_is_listed_stays(
    store: ObjectStore, parts: Parts, forget_after: Callable[[float], None]
) -> None:
    kept = put(store, "kept")
    deleted = put(store, "deleted")
    store.delete(store.get("deleted"))
    left = store.store(io.BytesIO(DATA))
    assert store.discard_unlisted() == 0
    assert chunk_subjects(parts) == {kept.nuid, left.nuid}
    forget_after(0.2)
    eventually(store.discard_unlisted, what="the content being old enough")
    assert chunk_subjects(parts) == {kept.nuid}
    assert b"".join(store.chunks(store.get("kept"))) == DATA
    assert [info.name for info in store.list().objects] == ["kept"]
    assert deleted.nuid != left.nuid
    assert store.discard_unlisted() == 0


def test_an_upload_that_still_adds_pieces_keeps_all_of_them(
    store: ObjectStore, parts: Parts, forget_after: Callable[[float], None]
) -> None:
    forget_after(1.0)
    for number in itertools.count():
        subject = names.chunk_subject(BUCKET, f"slow{number}")
        parts.bus.write(Write(subject, b"first"))
        begun_at = parts.bus.last("OBJ_pyoco_wheels", subject).stored_at
        eventually(lambda at=begun_at: server_time(parts) - at > 1.0, what="the first piece being old")
        parts.bus.write(Write(subject, b"last"))
        touched_at = parts.bus.last("OBJ_pyoco_wheels", subject).stored_at
        store.discard_unlisted()
        # A machine that took longer for this has shown nothing.
        if server_time(parts) - touched_at < 1.0:
            break
    assert f"slow{number}" in chunk_subjects(parts)


def server_time(parts: Parts) -> float:
    return parts.bus.server_time("OBJ_pyoco_wheels")


def test_an_upload_that_wakes_up_after_its_content_was_removed_is_refused(
    store: ObjectStore, forget_after: Callable[[float], None]
) -> None:
    content = store.store(io.BytesIO(DATA))
    judged = store.revision()
    forget_after(0.1)
    eventually(store.discard_unlisted, what="the content being removed")
    with pytest.raises(BusUnavailable, match="took too long"):
        store.publish("late", content, {}, revision=store.revision())
    # Just before the removal it found that it was in time.
    forget_after(3600.0)
    with pytest.raises(RevisionConflict):
        store.publish("late", content, {}, revision=judged)
    assert store.list().objects == []


def test_what_was_deleted_long_ago_leaves_no_description_and_the_list_its_revision(
    store: ObjectStore, parts: Parts, forget_after: Callable[[float], None]
) -> None:
    put(store, "kept")
    for number in range(5):
        put(store, f"gone{number}")
        store.delete(store.get(f"gone{number}"))
    content, judged = store.store(io.BytesIO(DATA)), store.revision()
    assert store.forget_deleted() == 0
    forget_after(0.0)
    assert store.forget_deleted() == 4
    assert len(descriptions(parts)) == 2 and store.revision() == judged
    assert [info.name for info in store.list().objects] == ["kept"]
    forget_after(3600.0)
    store.publish("gone0", content, {}, revision=judged)
    forget_after(0.0)
    # The last of those that were deleted is not the newest description any more.
    assert store.forget_deleted() == 1
    assert [info.name for info in store.list().objects] == ["gone0", "kept"]


def descriptions(parts: Parts) -> list[str]:
    pattern = names.object_subjects(BUCKET)
    return list(parts.info("OBJ_pyoco_wheels", subjects_filter=pattern)["state"]["subjects"])


def test_descriptions_that_no_client_can_read_disturb_nothing(store: ObjectStore, parts: Parts) -> None:
    put(store, "kept")
    for number, field in enumerate(('"headers": ["x"]', '"size": 1e999', '"mtime": 7', '"headers": "x"')):
        document = f'{{"name": "junk{number}", "bucket": "{BUCKET}", "nuid": "n", {field}}}'
        parts.bus.write(Write(names.object_subject(BUCKET, f"junk{number}"), document.encode()))
    assert "kept" in [info.name for info in store.list().objects]
    assert store.discard_unlisted() == 0
