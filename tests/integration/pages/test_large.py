"""Pages of large installations: as fast and as small as people are used to.

What is measured is the thread's own CPU time, which another program on the machine hardly changes, and it is compared
with that of a small page on the same machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from pyoco_server.gateway.app import create_app
from tests.support import crowd
from tests.support.gateway import LocalGateway
from tests.support.nats import NatsServer
from tests.support.pages import MAX_BYTES, Page, visit
from tests.support.parts import Parts
from tests.support.waiting import eventually
from tests.support.wheels import file_name, wheel

pytestmark = pytest.mark.long


def _cpu_sec(gateway: LocalGateway, path: str) -> float:
    """Give how long the best of three answers took, and check its size."""
    client = create_app(gateway.parts).test_client()
    took = []
    for _ in range(4):
        begin = time.thread_time()
        answer = client.get(path)
        took.append(time.thread_time() - begin)
        assert answer.status_code == 200
        assert len(answer.data) < MAX_BYTES, len(answer.data)
    # The first answer also compiles the template.
    return min(took[1:])


@pytest.fixture(scope="module")
def crowded(shared: LocalGateway) -> LocalGateway:
    """A gateway on an installation whose lists are all full."""
    with Parts(shared.config.nats_url) as parts:
        revision = parts.put_many(list(crowd.runs(1_000)))
        for record in crowd.workers():
            parts.put(record["worker_id"], record, bucket="pyoco_workers")
        crowd.wide_run(parts)
        crowd.letters(parts)
    for number in range(110):
        name = f"acme_package_{number}"
        form = {"wheel": (file_name(name, "1.0"), wheel(name, "1.0"))}
        assert shared.ask("POST", "/wheels", files=form, data={"tags": "gpu,a-tag-of-a-team-1"}).ok
    shared.wait_until_applied(revision)
    eventually(lambda: len(shared.parts.model.workers()) == crowd.WORKER_COUNT, what="the workers known")
    return shared


_FULL = ["/", "/ui/runs", "/ui/runs?status=FAILED", "/ui/queues", "/ui/workers", "/ui/workers/worker-1.example.com"]
_FULL += ["/ui/wheels", "/ui/dead-letters", f"/ui/runs/{crowd.WIDE_RUN}", f"/ui/submit?from={crowd.WIDE_RUN}"]
_FULL += [f"/ui/runs/{crowd.WIDE_RUN}?task=task_number_099"]


@pytest.mark.long
@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("path", _FULL)
def test_no_page_is_large_however_much_there_is(crowded: LocalGateway, path: str, lang: str) -> None:
    page = visit(crowded, path, lang=lang)
    assert len(page.elements) > 100


def _names(page: Page) -> list[str]:
    return [link.words for link in page.all("a", class_="flow")]


@pytest.mark.long
def test_each_worker_of_many_stands_on_one_page_of_their_list(crowded: LocalGateway) -> None:
    path, found = "/ui/workers?scope=", []
    while path:
        page = visit(crowded, path)
        found += _names(page)
        assert f" to {len(found)} of {crowd.WORKER_COUNT}" in page.one("nav", aria_label="Pages").words
        path = next((link.attributes["href"] for link in page.all("a", rel="next")), "")
    assert len(found) == len(set(found)) == crowd.WORKER_COUNT
    # A list that became shorter meanwhile ends with its last page.
    last = visit(crowded, "/ui/workers?skip=999999999")
    assert _names(last) == found[-len(_names(last)) :] and not last.all("a", rel="next")
    assert visit(crowded, last.one("a", rel="prev").attributes["href"]).all("a", rel="prev")
    for text in ("-1", "1.5", "\u0665", "1" * 10):
        assert "query.skip" in visit(crowded, "/ui/workers", params={"skip": text}, status=422).words


def test_the_first_page_names_a_few_of_each_kind_and_counts_the_rest(crowded: LocalGateway) -> None:
    needs = visit(crowded, "/").one("section", aria_labelledby="needs")
    assert needs.words.count("has not been seen for") == 5 and needs.words.count("cannot sync its wheels") == 5
    # Every run of the crowd that goes on does so for longer than its flow ever took.
    assert needs.words.count("has been running for") == 5
    assert "and 25 more like these" in needs.words and "and 265 more like these" in needs.words


def test_a_run_of_a_hundred_tasks_is_drawn_at_once(shared: LocalGateway) -> None:
    small_sec, large_sec = (_run_page_sec(shared, row_count) for row_count in (2, 10))
    # Five times as many tasks; drawing that compares each with each takes twenty-five times as long.
    assert large_sec < 10 * small_sec, (small_sec, large_sec)


def _run_page_sec(gateway: LocalGateway, row_count: int) -> float:
    run_id = f"rows-{row_count}"
    with Parts(gateway.config.nats_url) as parts:
        crowd.wide_run(parts, run_id, row_count=row_count)
    eventually(lambda: gateway.get(f"/ui/runs/{run_id}").status_code == 200, what="the run")
    assert "node is-completed" in gateway.get(f"/ui/runs/{run_id}").text
    return _cpu_sec(gateway, f"/ui/runs/{run_id}")


@pytest.mark.long
def test_pages_of_many_thousand_runs_take_no_longer(nats: NatsServer, serve: Callable[..., LocalGateway]) -> None:
    with Parts(nats.url) as parts:
        parts.put_many(list(crowd.runs(1_000)))
        small = serve()
        small.wait_until_complete()
        # One page of the list.
        usual_sec = _cpu_sec(small, "/ui/runs")
        small.stop()
        # With a hundred thousand it is measured by bench.pages.
        parts.put_many(list(crowd.runs(29_000, first=1_000)))
    gateway = serve()
    eventually(lambda: gateway.get("/ready").status_code == 200, what="the runs being loaded", timeout_sec=120)
    paths = ["/", "/ui/runs", "/ui/runs?status=FAILED&since=24h&tag=a-tag-of-a-team-3", "/ui/queues", "/ui/workers"]
    for path in paths:
        assert _cpu_sec(gateway, path) < 10 * usual_sec, (path, usual_sec)
