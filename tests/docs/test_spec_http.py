"""``docs/spec.md`` tells of every route of a gateway: what it reads, and what it answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import waitress.utilities
from pydantic.fields import FieldInfo

from pyoco_server import errors
from pyoco_server.contract import deadletters, policy, runs, workers
from pyoco_server.gateway import channel, inputs, limits
from pyoco_server.gateway.inputs import Input
from tests.support.documents import DOCS, Table, section, table, words
from tests.support.spec_routes import SpecRoutes, path_of

SPEC = (DOCS / "spec.md").read_text()
HTTP = section(SPEC, "## HTTP")
#: Routes for programs, each under a heading of its own, and pages.
ROUTES = re.findall(r"^### `([A-Z]+ /\S*)`$", HTTP, re.MULTILINE)
PAGE_ROWS = table(section(HTTP, "### Pages"), "page")
PAGES = {row["page"]: row["query"] for row in PAGE_ROWS}
POLICY = table(HTTP, "policy")
#: Submissions share these, and every route these statuses.
SHARED = section(HTTP, "### Submissions")
FOR_ALL = (413, 503)


def refusals(text: str) -> set[tuple[int, str | None]]:
    """Give the statuses that a text names together with the ids of their errors."""
    return {(int(status), err_id) for status, err_id in re.findall(r"(\d{3})\s+`(ERR-PYOCO-\w+)`", text)}


def default_of(field: FieldInfo, *, is_query: bool) -> str:
    """Give the default of a field as the document writes it; in a query, null is that nothing is asked for."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, float) and default == 0:
        default = 0
    return "" if default in ("", []) or (is_query and default is None) else json.dumps(default).strip('"')


def told(route: str, first: str) -> Table:
    """Give a table of the document about a route."""
    return table(section(HTTP, f"### `{route}`"), first)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpecRoutes]:
    found = SpecRoutes(tmp_path_factory.mktemp("spec"))
    yield found
    found.close()


def test_documented_routes_are_those_of_the_gateway(routes: SpecRoutes) -> None:
    there = []
    for rule in routes.app.url_map.iter_rules():
        there += [f"{method} {path_of(rule)}" for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    assert sorted([*ROUTES, *(row["page"] for row in PAGE_ROWS)]) == sorted(there)


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "POST /runs/yaml"])
def test_parameters_that_a_route_looks_at_are_documented(routes: SpecRoutes, route: str) -> None:
    rows = [*told(route, "query"), *(told(route, "form field") if route == "POST /wheels" else [])]
    assert routes.names_asked(route) - {"wheel"} == {next(iter(row.values())) for row in rows} - {"wheel"}


@pytest.mark.parametrize("route", [page for page in PAGES if page.startswith("GET") and "{filename}" not in page])
def test_parameters_that_a_page_looks_at_are_documented(routes: SpecRoutes, route: str) -> None:
    assert routes.names_asked(route) == {"refresh", *words(PAGES[route])}


@pytest.mark.parametrize("route", ROUTES)
def test_what_a_route_reads_is_documented_with_its_defaults(routes: SpecRoutes, route: str) -> None:
    described = routes.description(route)
    models = dict(described.models) if described else {}
    models["form"] = described.form.fields if described and described.form else Input
    for kind, first in (("query", "query"), ("body", "field"), ("form", "form field")):
        rows = {row[first]: row["default"] for row in told(route, first)}
        if rows.pop("the policy", None) is not None:
            rows.update((row["policy"], row["default"]) for row in POLICY)
        if kind == "form" and described and described.form:
            assert rows.pop(described.form.file) == "required"
        fields = models.get(kind, Input).model_fields
        assert rows == {
            field.alias or name: default_of(field, is_query=kind == "query") for name, field in fields.items()
        }


@pytest.mark.parametrize("route", ROUTES)
def test_what_a_route_refuses_is_documented(routes: SpecRoutes, route: str) -> None:
    described = routes.description(route)
    if described is None:
        return
    refused = {(error.http_status, error.err_id) for error in described.refuses}
    refused |= {(422, model.refusal.err_id) for model in described.models.values()}
    refused |= {(422, described.form.fields.refusal.err_id)} if described.form else set()
    refused |= {(404, errors.RunNotFound.err_id)} if "{run_id}" in route else set()
    written = refusals(section(HTTP, f"### `{route}`"))
    assert refused <= written | refusals(SHARED)
    assert {pair for pair in written - refused if pair[0] not in FOR_ALL} == set()


def kinds(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


def test_statuses_that_hold_for_all_routes_are_those_that_a_gateway_answers() -> None:
    rows = table(HTTP, "status")
    told = [int(status) for row in rows for status in row["status"].split(", ")]
    ours = {kind.http_status for kind in kinds(errors.PyocoServerError)}
    unread = {kind.code for kind in kinds(waitress.utilities.Error)}
    # A conflict is one of single routes, which name it; a wrong method is found by Flask.
    assert sorted(told) == sorted((ours | unread | {405}) - {409})


@pytest.mark.parametrize("route", [route for route in ROUTES if " to " in str(told(route, "query"))])
def test_documented_ranges_of_a_query_hold_at_both_ends(routes: SpecRoutes, route: str) -> None:
    for row in told(route, "query"):
        if match := re.fullmatch(r"(\d+) to (\d+)", row["value"]):
            low, high = int(match[1]), int(match[2])
            for value in (low, high):
                answer = routes.ask(route, query_string={row["query"]: str(value)})
                assert answer.status_code == 200, answer.text
                answer.close()
            for value in (low - 1, high + 1):
                answer = routes.ask(route, query_string={row["query"]: str(value)})
                assert answer.status_code == 422
                assert [fault["loc"] for fault in answer.json["errors"]] == [f"query.{row['query']}"]


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if re.search(r"200:[^.]*`{", section(HTTP, f"### `{route}`"))]
)
def test_documented_answers_have_the_fields_that_they_have(routes: SpecRoutes, route: str) -> None:
    text = section(HTTP, f"### `{route}`")
    shape = re.findall(r"200:[^.`]*`{([^}]*)}`", text)[0]
    answer: Any = routes.ask(route).json
    if route == "GET /runs":
        assert answer.keys() == {"items", "next_cursor"}
        answer = answer["items"]
    first = answer[0] if isinstance(answer, list) else answer
    assert sorted(first) == sorted(words(shape.replace(",", " ")))


def test_a_run_is_answered_as_its_snapshot_with_what_is_known_of_its_worker(routes: SpecRoutes) -> None:
    route = "GET /runs/{run_id}"
    of_worker = set(re.findall(r"`(worker_\w+)`", section(HTTP, f"### `{route}`")))
    stored = set(routes.ask("POST /runs/{run_id}/cancel").json)
    assert set(routes.ask(route).json) - stored == of_worker
    assert set(routes.ask(route, query_string={"include": "full"}).json) - stored == {*of_worker, "task_records"}


def test_an_event_of_a_watch_is_as_documented(routes: SpecRoutes) -> None:
    events = {row["event"]: words(row["data"]) for row in table(section(HTTP, "### Server-sent events"), "event")}
    answer = routes.ask("GET /runs/{run_id}/watch")
    assert answer.mimetype in section(HTTP, "### Server-sent events")
    lines = dict(line.split(": ", 1) for line in answer.text.strip().splitlines())
    assert lines.keys() == {"id", "event", "data"}
    assert sorted(json.loads(lines["data"])) == sorted(events[lines["event"]])


def test_events_of_a_log_and_its_lines_of_text_are_as_documented(routes: SpecRoutes) -> None:
    events = {row["event"]: words(row["data"]) for row in table(section(HTTP, "### Server-sent events"), "event")}
    answer = routes.ask("GET /runs/{run_id}/logs", query_string={"follow": "true"})
    found = re.findall(r"event: (.*)\ndata: (.*)", answer.text)
    assert [name for name, _ in found] == ["log", "log", "end"]
    assert all(sorted(json.loads(data)) == sorted(events[name]) for name, data in found)
    shown = re.findall(r"^    (\d.*)$", section(HTTP, "### Lines of text"), re.MULTILINE)
    assert routes.ask("GET /runs/{run_id}/logs", query_string={"format": "text"}).text.splitlines() == shown


@pytest.mark.parametrize(
    "words_of_it",
    [
        f"{limits.MAX_BODY_BYTES // 2**20} MiB; a batch 8 MiB",
        f"longer to come than {channel.GRACE_SEC:g} s and a second for each kilobyte",
        f"a heartbeat {limits.MAX_HEARTBEAT_BYTES // 2**20} MiB",
        f"list of tags, {inputs.MAX_POLLED_TAGS} at most",
        f"nested {inputs.MAX_NESTING} levels",
        f"| `runs` | list, {inputs.MAX_BATCH_RUNS} at most |",
        f"less {runs.RESERVED_BYTES:,} bytes",
        f"{runs.MAX_ERROR_CHARS:,} characters at most; begins with",
        f"the error cut at {policy.MAX_EARLIER_ERROR_CHARS} characters",
        f"the first {deadletters.MAX_PAYLOAD_BYTES:,} bytes of the job",
        f"Lists in `wheel_sync` have {workers.WHEELS_SHOWN} entries at most.",
        f"`Retry-After: {errors.TooManyWatches.retry_after_sec}` where all places",
    ],
)
def test_limits_are_those_of_the_code(words_of_it: str) -> None:
    assert words_of_it in SPEC
