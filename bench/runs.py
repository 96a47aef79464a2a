"""Runs as a client sees them: submitted over HTTP, and asked after until they have ended."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from bench.load import request
from bench.site import Station
from pyoco_server.states import TERMINAL

TAG = "hello"
#: How often it is asked whether a run has ended.
LOOK_SEC = 0.002
_TIMEOUT_SEC = 300.0

#: Two tasks in a row that do next to nothing.
TWO_TASKS = """\
version: 1
flow: {graph: add_one >> to_text, defaults: {x: 1}}
tasks:
  add_one: {callable: "pyoco_server._workflow_test_tasks:add_one"}
  to_text: {callable: "pyoco_server._workflow_test_tasks:to_text"}
"""


def one_task(name: str, **params: object) -> str:
    """Give a flow of one of ``bench/tasks.py``, with its arguments."""
    flow = f"{{graph: {name}, defaults: {json.dumps(params)}}}"
    return f'version: 1\nflow: {flow}\ntasks: {{{name}: {{callable: "bench_tasks:{name}"}}}}\n'


def yaml_request(url: str, workflow: str, tag: str = TAG) -> bytes:
    """Write the request that submits a flow.yaml, as curl sends a form."""
    kind, body = _form(workflow, tag)
    return request(url, "/runs/yaml", body, kind=kind)


def _form(workflow: str, tag: str) -> tuple[str, bytes]:
    fields = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("flow_name", "main"), ("tag", tag))
    )
    file = (
        f'--x\r\nContent-Disposition: form-data; name="workflow"; filename="flow.yaml"\r\n\r\n{workflow}\r\n--x--\r\n'
    )
    return "multipart/form-data; boundary=x", (fields + file).encode()


class Client:
    """One user of a station, on a connection that is kept: what it costs itself is in every time that it takes."""

    def __init__(self, station: Station) -> None:
        parts = urlsplit(station.url)
        self._connection = HTTPConnection(str(parts.hostname), parts.port, timeout=30)

    def submit(self, workflow: str, tag: str = TAG) -> str:
        """Submit a flow.yaml; gives the run's id."""
        kind, body = _form(workflow, tag)
        return str(self._ask("POST", "/runs/yaml", body, {"Content-Type": kind})["run_id"])

    def run(self, run_id: str) -> dict[str, Any]:
        return self._ask("GET", f"/runs/{run_id}")

    def wait(self, run_id: str, *statuses: str, look_sec: float = LOOK_SEC) -> dict[str, Any]:
        """Ask for a run until it has one of these states, by default until it has ended."""
        deadline = time.monotonic() + _TIMEOUT_SEC
        while time.monotonic() < deadline:
            found = self.run(run_id)
            if found["status"] in (statuses or TERMINAL):
                return found
            time.sleep(look_sec)
        raise RuntimeError(f"run {run_id} is {found['status']} after {_TIMEOUT_SEC:g} s")

    def cancel(self, run_id: str) -> None:
        self._ask("POST", f"/runs/{run_id}/cancel")

    def close(self) -> None:
        self._connection.close()

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        self._connection.request(method, path, body, headers or {})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"{method} {path} was refused with {answer.status}: {text[:400]!r}")
        found: dict[str, Any] = json.loads(text)
        return found
