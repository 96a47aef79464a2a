"""The Flask application: blueprints, error form, headers."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request

from pyoco_server.gateway import (
    admission,
    artifacts,
    batch,
    cancel,
    deadletters,
    fast_lane,
    health,
    logs,
    metrics,
    openapi,
    polling,
    problems,
    runs,
    watch,
    wheels,
    workers,
)
from pyoco_server.gateway.admission import READING
from pyoco_server.gateway.answers import ANSWER_HEADERS, JsonAnswers
from pyoco_server.gateway.context import Gateway, attach, gateway, release_room, take_room
from pyoco_server.gateway.limits import WHEEL_PATHS, max_body_bytes, max_form_memory_bytes
from pyoco_server.gateway.pages import cancel as cancel_page
from pyoco_server.gateway.pages import dead_letters as dead_letters_page
from pyoco_server.gateway.pages import frame, origin, overview, queues, rerun, session, static, submit
from pyoco_server.gateway.pages import logs as logs_page
from pyoco_server.gateway.pages import run as run_page
from pyoco_server.gateway.pages import runs as runs_page
from pyoco_server.gateway.pages import wheels as wheels_page
from pyoco_server.gateway.pages import workers as workers_page
from pyoco_server.gateway.uploads import UploadRequest

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

_PAGES = (
    static,
    overview,
    runs_page,
    run_page,
    logs_page,
    queues,
    workers_page,
    wheels_page,
    dead_letters_page,
    submit,
    cancel_page,
    rerun,
    session,
)


class _Answer(Response):
    """An answer that does not say what it is, as that to OPTIONS, is not taken for HTML."""

    default_mimetype = None


class _App(Flask):
    """Knows that no function of ours is a coroutine; Flask looks again for each that it calls."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(parts: Gateway) -> Flask:
    """Make the WSGI application of a gateway."""
    web = importlib.resources.files("pyoco_server.web")
    app = _App("pyoco_server.gateway", template_folder=str(web / "templates"), static_folder=None)
    frame.install(app)
    app.json = JsonAnswers(app)
    app.request_class = UploadRequest
    app.response_class = _Answer
    # A redirect to the path with fewer slashes would be an HTML page.
    app.url_map.merge_slashes = False
    attach(app, parts)
    problems.install(app)
    metrics.install(app)
    # Who came by the fast lane was let in there; whether NATS can say so a second time does not matter.
    fast_lane.install(app)
    admission.install(app)
    for module in (
        health,
        runs,
        artifacts,
        batch,
        cancel,
        deadletters,
        polling,
        logs,
        watch,
        wheels,
        workers,
        metrics,
        openapi,
        *_PAGES,
    ):
        app.register_blueprint(module.blueprint)
    app.before_request(_limit_body)
    app.before_request(_take_room_for_body)
    app.teardown_request(release_room)
    origin.install(app)
    app.after_request(_harden)
    return app


def _limit_body() -> None:
    config = gateway().config
    request.max_content_length = max_body_bytes(config, request.path)
    request.max_form_memory_size = max_form_memory_bytes(config, request.path)


def _take_room_for_body() -> None:
    # The file of a wheel's form is kept on the disk, and what only reads, and may wait for long, does not read a body.
    if request.path not in WHEEL_PATHS and request.method not in READING:
        size_bytes = request.content_length
        if size_bytes is None and "Transfer-Encoding" in request.headers:
            # In chunks, as another WSGI server may hand it on: as large as it may be.
            size_bytes = request.max_content_length
        take_room(size_bytes or 0)


def _harden(response: Response) -> Response:
    for name, value in ANSWER_HEADERS:
        response.headers.setdefault(name, value)
    if response.mimetype == "text/html":
        # A file that is to be saved has a stricter one.
        response.headers.setdefault("Content-Security-Policy", _CONTENT_SECURITY_POLICY)
    return response
