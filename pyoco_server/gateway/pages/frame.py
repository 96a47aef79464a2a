"""What all pages share: language, the moment they show, the refresh switch, the navigation.

Source: design, section 11.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from flask import Flask, Response, render_template, request
from jinja2 import StrictUndefined

from pyoco_server import __version__
from pyoco_server.contract.names import is_key
from pyoco_server.errors import Fault, InvalidListQuery
from pyoco_server.gateway.admission import SESSION_COOKIE, is_admitted
from pyoco_server.gateway.context import gateway
from pyoco_server.gateway.pages import sizes, times
from pyoco_server.gateway.pages.i18n import Words, choose_language, words
from pyoco_server.gateway.pages.plain import plain
from pyoco_server.gateway.pages.static import static_url
from pyoco_server.gateway.paths import WHEELS_PAGE

#: Seconds between refreshes that a reader can choose.
REFRESH_CHOICES = (5, 30)
_OFF = "off"
#: Address and title of each page of the menu, in its order.
_MENU = {
    "/": "frame.overview",
    "/ui/runs": "frame.runs",
    "/ui/queues": "frame.queues",
    "/ui/workers": "frame.workers",
    WHEELS_PAGE: "frame.wheels",
    "/ui/dead-letters": "frame.dead_letters",
    "/ui/submit": "frame.submit",
}


def install(app: Flask) -> None:
    """Make templates strict: a name that is missing is an error, not a gap in the page."""
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}


def page_words() -> Words:
    """Give the texts in the language of the request's answer."""
    config = gateway().config
    return words(choose_language(config.dashboard_lang, request.accept_languages, config.locale_lang))


def render(template: str, *, refresh_sec: int | None = None, status: int = 200, **values: Any) -> Response:
    """Give a page.

    :param refresh_sec: how often it is loaded again unless the reader has chosen; 0 = not before that, ``None`` =
        never: there is nothing new to see, or typing would be lost.
    :raises InvalidListQuery: the address asks for a refresh that there is not.
    """
    now, text = time.time(), page_words()
    chosen_sec = _chosen_refresh(refresh_sec)
    html = render_template(
        template,
        t=text,
        now=now,
        clock=partial(times.clock, text),
        ago=partial(_ago, text, now),
        took=partial(times.duration, text),
        span=partial(times.span, text),
        size=partial(sizes.size, text),
        static_url=static_url,
        address=address,
        quoted=quoted,
        run_address=run_address,
        worker_address=worker_address,
        is_known_worker=is_known_worker,
        menu=_MENU if is_admitted() else {},
        is_signed_in=is_admitted() and SESSION_COOKIE in request.cookies,
        path=_own_path(),
        version=__version__,
        refresh_sec=chosen_sec,
        refresh_links=_refresh_links() if refresh_sec is not None else {},
        **values,
    )
    response = Response(plain(html), status, content_type="text/html; charset=utf-8")
    response.headers["Content-Language"] = text.lang
    response.vary.add("Accept-Language")
    if chosen_sec:
        response.headers["Refresh"] = str(chosen_sec)
    return response


def address(path: str, /, **query: Any) -> str:
    """Give the address of a page; parameters that are empty are left out."""
    given = {name: value for name, value in query.items() if value not in (None, "", [])}
    return f"{path}?{urlencode(given, doseq=True, errors='replace')}" if given else path


def quoted(text: str) -> str:
    """Give a text as one part of a path."""
    return quote(text, safe="", errors="replace")


def run_address(run_id: str) -> str:
    """Give the address of a run's page."""
    return f"/ui/runs/{quoted(run_id)}"


def worker_address(worker_id: str) -> str:
    """Give the address of a worker's page."""
    return f"/ui/workers/{quoted(worker_id)}"


def is_known_worker(worker_id: str) -> bool:
    """Say whether a worker that a run names has a page."""
    return is_key(worker_id) and gateway().model.has_worker(worker_id)


def here(**changes: Any) -> str:
    """Give the address of the page at hand with other parameters; those that are ``None`` are left out."""
    return address(_own_path(), **{**request.args.to_dict(flat=False), **changes})


def _own_path() -> str:
    """Give the path of the page at hand as an address has it: names in it may hold anything."""
    return quote(request.path, errors="replace")


def _ago(text: Words, now: float, moment: Any) -> Any:
    return times.ago(text, moment, now)


def _chosen_refresh(default_sec: int | None) -> int:
    chosen = request.args.get("refresh")
    if default_sec is None or chosen is None:
        return default_sec or 0
    if chosen != _OFF and chosen not in map(str, REFRESH_CHOICES):
        words_known = ", ".join([_OFF, *map(str, REFRESH_CHOICES)])
        raise InvalidListQuery(faults=[Fault("query.refresh", f"must be one of {words_known}")])
    return 0 if chosen == _OFF else int(chosen)


def _refresh_links() -> dict[int, str]:
    return {sec: here(refresh=sec or _OFF) for sec in (0, *REFRESH_CHOICES)}
