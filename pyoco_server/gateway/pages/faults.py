"""Errors as browsers show them; under every other path an error is a problem document."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from pyoco_server.errors import Unavailable
from pyoco_server.gateway.admission import READING
from pyoco_server.gateway.outputs import Problem
from pyoco_server.gateway.pages.frame import page_words, render

#: What each status is called, and what to do then: keys of the texts.
_TITLES = {
    401: ("fault.closed", "fault.closed_hint"),
    403: ("fault.refused", "fault.refused_hint"),
    404: ("fault.missing", "fault.missing_hint"),
    405: ("fault.method", "fault.method_hint"),
    409: ("fault.conflict", "fault.conflict_hint"),
    413: ("fault.large", "fault.large_hint"),
    422: ("fault.invalid", "fault.invalid_hint"),
    503: ("fault.away", "fault.away_hint"),
}
_OTHER = ("fault.failed", "fault.failed_hint")
#: A form that got no answer is for its sender to send again: a browser would ask with GET for what only takes forms.
_AWAY_FORM = ("fault.away", "fault.away_form_hint")
#: How often a page is tried again that could not be answered at the moment.
_RETRY_SEC = 5


def fault_page(document: Problem) -> Response:
    """Give the page of a problem document; its sentences stay in English."""
    status = document["status"]
    is_away = status == Unavailable.http_status
    is_tried_again = is_away and request.method in READING
    title, hint = _AWAY_FORM if is_away and not is_tried_again else _TITLES.get(status, _OTHER)
    response = render(
        "fault.html",
        status=status,
        title=page_words()(title),
        hint=page_words()(hint),
        code=status,
        detail=document["detail"],
        err_id=document.get("err_id"),
        faults=[_place(fault) for fault in document.get("errors", ())],
        is_tried_again=is_tried_again,
    )
    if is_tried_again:
        response.headers["Refresh"] = str(_RETRY_SEC)
    return response


def _place(fault: dict[str, Any]) -> str:
    return f"{fault['loc']}: {fault['msg']}"
