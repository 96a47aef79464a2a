"""The texts of workflows are kept as long as they are used, whatever becomes of the bucket meanwhile."""

from __future__ import annotations

from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.contract import names
from pyoco_server.stores.workflows import WorkflowStore
from tests.support.nats import NatsServer
from tests.support.parts import Parts
from tests.support.waiting import eventually

SHA256, TEXT = "ab" * 32, "flow: {graph: a}\n"


def drop(parts: Parts) -> None:
    """Remove the text, as a full bucket does it with its oldest ones."""
    subject = names.key_subject(names.WORKFLOWS_BUCKET, SHA256)
    parts.bus.api(f"STREAM.PURGE.{names.bucket_stream(names.WORKFLOWS_BUCKET)}", {"filter": subject})


def test_a_text_that_was_just_kept_is_not_written_again(parts: Parts) -> None:
    store = WorkflowStore(parts.bus)
    store.keep(SHA256, TEXT)
    drop(parts)
    store.keep(SHA256, TEXT)
    assert store.get(SHA256) is None


def test_a_text_that_a_full_bucket_has_dropped_is_kept_again_by_a_later_submission(parts: Parts) -> None:
    store = WorkflowStore(parts.bus, known_sec=0.2)
    store.keep(SHA256, TEXT)
    drop(parts)

    def kept_again() -> bool:
        store.keep(SHA256, TEXT)
        return store.get(SHA256) == TEXT

    eventually(kept_again, what="the text in its bucket")


def test_a_text_is_kept_again_when_nats_came_back_empty_whoever_made_the_bucket(parts: Parts, nats: NatsServer) -> None:
    store = WorkflowStore(parts.bus)
    store.keep(SHA256, TEXT)
    nats.stop()
    eventually(lambda: not parts.bus.is_connected, what="the loss of the connection")
    nats.empty()
    nats.start()
    with Parts(nats.url) as other:
        ensure_resources(other.bus, other.config)
        eventually(lambda: parts.bus.is_connected, what="the connection")
        store.keep(SHA256, TEXT)
        assert other.workflows.get(SHA256) == TEXT
