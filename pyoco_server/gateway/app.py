"""The Flask application: blueprints, error form, headers."""

from __future__ import annotations

import importlib.resources

from flask import Flask, Response

from pyoco_server.gateway import health, problems, runs, watch
from pyoco_server.gateway.answers import JsonAnswers
from pyoco_server.gateway.context import Gateway, attach
from pyoco_server.gateway.pages import overview

#: Larger bodies are refused before they are read; the workflow's own limit is checked beside it.
MAX_BODY_BYTES = 2 * 1024 * 1024

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def create_app(gateway: Gateway) -> Flask:
    """Make the WSGI application of a gateway."""
    web = importlib.resources.files("pyoco_server.web")
    app = Flask("pyoco_server.gateway", template_folder=str(web / "templates"), static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes(gateway)
    app.config["MAX_FORM_MEMORY_SIZE"] = max_body_bytes(gateway)
    app.json = JsonAnswers(app)
    # A redirect to the path with fewer slashes would be an HTML page.
    app.url_map.merge_slashes = False
    attach(app, gateway)
    problems.install(app)
    for module in (health, runs, watch, overview):
        app.register_blueprint(module.blueprint)
    app.after_request(_harden)
    return app


def max_body_bytes(gateway: Gateway) -> int:
    """Give the largest body that any route but the wheels' takes."""
    return max(MAX_BODY_BYTES, gateway.config.workflow_yaml_max_bytes + 64 * 1024)


def _harden(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if response.mimetype == "text/html":
        response.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    return response
