"""Tags that only workers serve which ask over HTTP: nobody registers them, and they are not missing."""

from __future__ import annotations

from tests.conftest import HELLO_FLOW
from tests.support.gateway import LocalGateway
from tests.support.pages import visit
from tests.support.polling import beat, poll


def rows(shared: LocalGateway, tag: str) -> list[str]:
    return [row.words for row in visit(shared, "/ui/queues").all("tr") if row.words.startswith(f"{tag} ")]


def needs_a_worker(shared: LocalGateway, tag: str) -> bool:
    """Say whether the queues say so, and the first page with them."""
    (row,) = rows(shared, tag)
    stands_in_queues = "No worker" in row
    stands_on_first_page = f"pyoco-worker --tags {tag}" in visit(shared, "/").words
    assert stands_in_queues == stands_on_first_page
    return stands_in_queues


def test_a_tag_is_served_while_a_worker_that_asks_over_http_has_a_run_of_it(shared: LocalGateway) -> None:
    for _ in range(2):
        shared.submit("f", tag="polled")
    assert needs_a_worker(shared, "polled")
    run_id = poll(shared, "polled")["run_id"]
    assert not needs_a_worker(shared, "polled")
    assert rows(shared, "polled")[0].endswith("workers that ask over HTTP")
    beat(shared, run_id, "COMPLETED")
    assert needs_a_worker(shared, "polled")


def test_runs_that_such_a_worker_is_not_given_need_another_one(shared: LocalGateway) -> None:
    shared.submit("f", tag="mixed")
    assert poll(shared, "mixed")["run_id"] is not None
    assert shared.ask("POST", "/runs/yaml?flow_name=main&tag=mixed", data=HELLO_FLOW).status_code == 200
    assert needs_a_worker(shared, "mixed")
