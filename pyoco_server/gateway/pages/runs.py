"""The list of runs: everything that is asked stands in the address."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, redirect, request
from markupsafe import Markup
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as AnyResponse

from pyoco_server.errors import Fault, InvalidListQuery
from pyoco_server.gateway.admission import caller
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages.frame import here, page_words, render
from pyoco_server.gateway.pages.i18n import Words
from pyoco_server.gateway.pages.marks import run_marks
from pyoco_server.gateway.pages.picks import list_address
from pyoco_server.gateway.pages.rerun import form_key
from pyoco_server.gateway.pages.rows import run_row
from pyoco_server.gateway.queries import RunListQuery, read_query
from pyoco_server.readmodel.reports import Reports

blueprint = Blueprint("runs_page", __name__)

_PAGE_ROWS = 50
#: How far back a list may look: the word in the address, seconds, and the key of its text.
SPANS = {
    "1h": (3_600.0, "runs.since_1h"),
    "24h": (86_400.0, "runs.since_24h"),
    "7d": (604_800.0, "runs.since_7d"),
}
#: The filters, by their names in the address.
_FILTERS = ("status", "flow", "tag", "q", "error", "since")


@blueprint.get("/ui/runs")
def runs() -> Response:
    """Show the runs that match."""
    now = time.time()
    given = request.args
    asked = read_query(RunListQuery, _list_query(given, now)).of(caller().tenant_id)
    query = replace(asked, failure=given.get("error") or None)
    reports = Reports(gateway().model, caller().tenant_id)
    page = gateway().model.list_runs(query)
    counts = reports.counts()
    statuses = given.getlist("status")
    return render(
        "runs.html",
        refresh_sec=0,
        title=_title(page_words(), given),
        rows=[run_row(document, now) for document in page.documents],
        older=here(cursor=str(page.next_cursor)) if page.next_cursor else None,
        newest=here(cursor=None) if given.get("cursor") else None,
        given={name: given.get(name, "") for name in _FILTERS},
        statuses=statuses,
        marks=run_marks(),
        # Beside another filter the numbers of all runs would mislead.
        counts={} if any(given.get(name) for name in _FILTERS if name != "status") else counts,
        is_filtered=any(given.get(name) for name in _FILTERS),
        has_runs=bool(counts),
        flow_names=reports.flow_names(),
        tags=reports.tags(),
        once=form_key(),
        query=request.query_string.decode("ascii", errors="replace"),
        spans={name: key for name, (_, key) in SPANS.items()},
    )


@blueprint.post("/ui/runs")
def show_again() -> AnyResponse:
    """Do nothing with the ticked runs, which is what a browser asks for by the Enter key."""
    return redirect(list_address("/ui/runs"), 303)


def _list_query(given: MultiDict[str, str], now: float) -> MultiDict[str, str]:
    """Say in the words of ``GET /runs`` what a page asks.

    :raises InvalidListQuery: ``since`` is none of the spans.
    """
    asked = MultiDict([("limit", str(_PAGE_ROWS))])
    for name in ("status", "flow", "tag", "q", "cursor"):
        asked.setlist(name, given.getlist(name))
    since = given.get("since")
    if since:
        if since not in SPANS:
            raise InvalidListQuery(faults=[Fault("query.since", f"must be one of {', '.join(SPANS)}")])
        asked["updated_after"] = str(now - SPANS[since][0])
    return asked


def _title(text: Words, given: Mapping[str, Any]) -> Markup:
    """Say what the list shows."""
    marks = run_marks()
    parts = [text(marks[status].word) for status in request.args.getlist("status")]
    if given.get("flow"):
        parts.append(text("runs.of_flow", flow=given["flow"]))
    if given.get("tag"):
        parts.append(text("runs.of_tag", tag=given["tag"]))
    if given.get("q"):
        parts.append(text("runs.of_text", text=given["q"]))
    if given.get("error"):
        parts.append(text("runs.of_error"))
    if given.get("since"):
        parts.append(text(SPANS[given["since"]][1]))
    return text("runs.title_of", parts=Markup(" · ").join(parts)) if parts else text("runs.title")
