"""The files of a run on its page."""

from __future__ import annotations

from typing import Any

from pyoco_server.stores.artifacts import ArtifactStore
from tests.support.artifacts import put
from tests.support.gateway import LocalGateway
from tests.support.pages import LONG, ODD, SCRIPT, visit
from tests.support.parts import Parts, stored_run


def show(shared: LocalGateway, parts: Parts, run_id: str, **fields: object) -> ArtifactStore:
    shared.wait_until_applied(parts.put(run_id, stored_run(run_id, **fields)))
    return ArtifactStore(parts.bus)


def test_it_lists_the_files_with_links_to_their_bytes(shared: LocalGateway, shared_parts: Parts) -> None:
    store = show(shared, shared_parts, "saved", status="COMPLETED", attempt=2)
    put(store, "saved", "out/a & b.csv", b"x" * 2_000, attempt=1, task="load")
    put(store, "saved", "new #?%.txt", b"", attempt=2)
    page = visit(shared, "/ui/runs/saved")
    shown = page.one("section", aria_labelledby="files").words
    assert "new #?%.txt 2 0 bytes" in shown and "out/a & b.csv load 1 2.0 kB" in shown
    links = [link for link in page.links() if link.startswith("/runs/saved/artifacts/")]
    assert [shared.get(link).content for link in links] == [b"", b"x" * 2_000]
    assert "/runs/saved/artifacts" in page.links()


def test_names_that_others_have_given_do_no_harm(shared: LocalGateway, shared_parts: Parts) -> None:
    store = show(shared, shared_parts, "odd", status="COMPLETED", attempt=1)
    for name in (SCRIPT.replace("/", "_"), "n" * 1_000):
        put(store, "odd", name, b"x", task=f"{SCRIPT} {ODD} {LONG}")
    page = visit(shared, "/ui/runs/odd")
    links = [link for link in page.links() if link.startswith("/runs/odd/artifacts/")]
    assert [shared.get(link).content for link in links] == [b"x", b"x"]


def test_a_run_without_files_has_no_list_of_them(shared: LocalGateway, shared_parts: Parts) -> None:
    show(shared, shared_parts, "none", status="COMPLETED", attempt=1)
    assert visit(shared, "/ui/runs/none").all("section", aria_labelledby="files") == []


def test_of_many_files_those_that_are_left_out_are_counted(shared: LocalGateway, shared_parts: Parts) -> None:
    store = show(shared, shared_parts, "many", status="COMPLETED", attempt=1)
    for number in range(43):
        put(store, "many", f"{number:03}", b"")
    asked: list[Any] = []
    bus = shared_parts.bus
    subject = "$JS.API.STREAM.MSG.GET.OBJ_pyoco_artifacts"
    subscription = bus.call(bus.subscribe(subject, asked.append), timeout_sec=5)
    page = visit(shared, "/ui/runs/many")
    # An answer to this connection comes after all that was heard before.
    bus.api("INFO")
    bus.call(subscription.unsubscribe(), timeout_sec=5)
    assert len(asked) == 40
    assert len([link for link in page.links() if link.startswith("/runs/many/artifacts/")]) == 40
    assert "3 more" in page.words


def test_files_that_nats_does_not_give_leave_the_rest_of_the_page(local: LocalGateway, parts: Parts) -> None:
    show(local, parts, "away", status="COMPLETED", attempt=1)
    parts.bus.api("STREAM.DELETE.OBJ_pyoco_artifacts")
    shown = visit(local, "/ui/runs/away").one("section", aria_labelledby="files").words
    assert "NATS does not give the files at the moment" in shown
