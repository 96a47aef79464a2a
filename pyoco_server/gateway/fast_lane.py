"""The fast lane: the requests that come most often by far, without Flask and without a thread of their own.

Flask takes as long for one of them as all the rest does, and so do the hand-overs between threads: to one of the pool,
to the bridge's, and back. Here a request is read, carried out and answered on the bridge's thread alone, which receives
it and talks to NATS. So nothing here may wait, for anybody.

Nothing is decided in another way than by the routes: the same parts let the caller in, read the body and submit.
Whatever is refused, is large or has to wait is left to them: before anything is done the request itself, and afterwards
what has become of it. So errors look alike.

Source: design, section 8.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, g, request

from pyoco_server.bridge.messages import Outcome
from pyoco_server.errors import RunNotFound
from pyoco_server.gateway.answers import json_line
from pyoco_server.gateway.context import Gateway
from pyoco_server.gateway.inputs import RunInput, read_json_object, read_model
from pyoco_server.gateway.plain_forms import read_form, read_plain_query
from pyoco_server.gateway.runs import accepted, run_document, workflow_input
from pyoco_server.operations.authenticate import Caller
from pyoco_server.operations.submit import RunRequest, Submitted
from pyoco_server.stores.runs import StoredRun
from pyoco_server.workflow.flow_yaml import known_workflow

#: Larger bodies go to a thread: so long the bridge's, which all wait for, reads one of them.
MAX_BODY_BYTES = 8 * 1024
#: Requests that are in work here at the same time; more of them go to threads, and wait for one where all have work.
MAX_IN_WORK = 256
#: Larger snapshots are read by a thread, too, for the same reason.
MAX_SNAPSHOT_BYTES = 16 * 1024
#: In the environment of a request that Flask is to go on with: a :class:`Begun`.
BEGUN = "pyoco_server.begun"
_RUN_ROUTE = "/runs/<run_id>"
#: Takes what a request has come to: its route, and of :class:`Begun` whether the answer is at hand and its body.
_End = Callable[[str, bool, Callable[[], bytes]], None]


@dataclass(frozen=True)
class Begun:
    """A request that the lane has begun, and what has become of it.

    :param began_at: ``time.monotonic()``.
    :param is_at_hand: whether the answer can be given at once, on any thread; ``body`` may wait, or raise, else.
    :param body: gives the JSON of the answer, whose status is 200; to be called once, also where nobody waits for it
        any more: it may have to withdraw what was refused.
    """

    began_at: float
    is_at_hand: bool
    body: Callable[[], bytes]


def install(app: Flask) -> None:
    """Have this app go on with what the lane has begun and cannot answer."""
    app.before_request(_go_on)


def _go_on() -> Response | None:
    # Taken out: an error of it holds the frames that hold the environment.
    begun: Begun | None = request.environ.pop(BEGUN, None)
    if begun is None:
        return None
    g.began_at = begun.began_at
    return Response(begun.body(), mimetype="application/json")


class FastLane:
    """Begins plain requests, and leaves everything else alone."""

    def __init__(self, parts: Gateway) -> None:
        self._parts = parts
        self._key_name = parts.config.http_api_key_header.upper().replace("-", "_")
        #: What is in work, by the requests themselves.
        self._in_work: set[Any] = set()

    def begin(self, received: Any, done: Callable[[Begun], None]) -> bool:
        """Begin a request; on the bridge's thread.

        :param received: waitress's request, whole.
        :param done: called once, on that thread, too; it must not block.
        :return: whether it was begun; else nothing has happened.
        """
        start = self._start_of(received)
        if start is None or len(self._in_work) >= MAX_IN_WORK or not self._parts.bus.is_connected:
            return False
        began_at = time.monotonic()
        self._in_work.add(received)
        try:
            if start(received, functools.partial(self._end, received, began_at, done)):
                return True
        except Exception:
            # It is refused: by the route, which finds the same.
            pass
        self._in_work.discard(received)
        return False

    def _start_of(self, received: Any) -> Callable[[Any, _End], bool] | None:
        """Give what begins a request, where it is of a kind that the lane knows.

        What it gives does what the route does, as far as nobody need wait, says whether it has, and raises what the
        route will raise.
        """
        method, path = received.command, received.path
        if method == "POST" and path == "/runs":
            return self._submit_flow
        if method == "POST" and path == "/runs/yaml":
            return self._submit_workflow
        if method == "GET" and path.startswith("/runs/") and not received.query:
            return self._read_run
        return None

    def _end(
        self,
        received: Any,
        began_at: float,
        done: Callable[[Begun], None],
        route: str,
        is_at_hand: bool,
        body: Callable[[], bytes],
    ) -> None:
        """Pass on what a request has come to; on the bridge's thread."""
        self._in_work.discard(received)
        if is_at_hand:
            self._parts.instruments.request_answered(route, received.command, 200, time.monotonic() - began_at)
        done(Begun(began_at, is_at_hand, body))

    def _submit_flow(self, received: Any, end: _End) -> bool:
        caller, payload = self._writer(received), _small_body(received)
        if caller is None or payload is None:
            return False
        given = read_model(RunInput, read_json_object(payload, "body"), "body")
        self._submit("/runs", given.request(caller, self._parts.config.default_tag), end)
        return True

    def _submit_workflow(self, received: Any, end: _End) -> bool:
        caller, payload = self._writer(received), _small_body(received)
        found = None if caller is None or payload is None else _workflow_of(received, payload)
        if caller is None or found is None:
            return False
        text, sent, where = found
        given = workflow_input(sent, where)
        # One that is new takes long to read, and is stored first.
        workflow = known_workflow(text) if len(text) <= self._parts.config.workflow_yaml_max_bytes else None
        if workflow is None or not self._parts.workflows.is_kept(workflow.sha256):
            return False
        self._submit("/runs/yaml", given.request(caller, self._parts.config.default_tag, workflow), end)
        return True

    def _submit(self, route: str, wanted: RunRequest, end: _End) -> None:
        def submitted(outcome: Outcome[Submitted]) -> None:
            def body() -> bytes:
                run = outcome.result()
                self._parts.model.note_seen(run.revision)
                return json_line(accepted(run, wanted.workflow)).encode()

            if outcome.has_failed:
                end(route, False, body)
            else:
                end(route, *_at_hand(body))

        self._parts.submission.begin(wanted, submitted)

    def _read_run(self, received: Any, end: _End) -> bool:
        caller = self._caller(received)
        run_id = received.path.removeprefix("/runs/")
        # What follows the id, as in /runs/x/tasks, is another route's.
        if caller is None or "/" in run_id:
            return False

        def read(outcome: Outcome[StoredRun], size_bytes: int) -> None:
            def body() -> bytes:
                stored = outcome.result()
                if not caller.sees(stored.snapshot.tenant_id):
                    raise RunNotFound(run_id)
                return json_line(run_document(self._parts, stored, with_records=False)).encode()

            if outcome.has_failed or size_bytes > MAX_SNAPSHOT_BYTES:
                end(_RUN_ROUTE, False, body)
            else:
                end(_RUN_ROUTE, *_at_hand(body))

        self._parts.runs.begin_get(run_id, read)
        return True

    def _writer(self, received: Any) -> Caller | None:
        """Tell who submits, if it may be done here."""
        caller = self._caller(received)
        return None if caller is None or not caller.may_write or "IDEMPOTENCY_KEY" in received.headers else caller

    def _caller(self, received: Any) -> Caller | None:
        """Tell who asks, where nothing need be computed for that."""
        return self._parts.authentication.known_caller(received.headers.get(self._key_name))


def _small_body(received: Any) -> bytes | None:
    """Give a body whose length was told and is small; ``None`` for every other one."""
    if not 0 < received.content_length <= MAX_BODY_BYTES:
        return None
    # The whole of it, which the route may have to read again.
    payload: bytes = received.body_rcv.getbuf().get()
    return payload


def _workflow_of(received: Any, payload: bytes) -> tuple[bytes, Mapping[str, str], str] | None:
    """Find the workflow's text, the fields beside it and where these stand; ``None`` where they are not plain."""
    content_type = received.headers.get("CONTENT_TYPE", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        form = read_form(content_type, payload)
        if form is None or "workflow" not in form.files:
            return None
        return form.files["workflow"], form.fields, "form"
    sent = read_plain_query(received.query)
    if sent is None or kind == "application/json" or kind.endswith("+json"):
        return None
    return payload, sent, "query"


def _at_hand(body: Callable[[], bytes]) -> tuple[bool, Callable[[], bytes]]:
    """Make an answer now, which its client may not wait for any more; give what :data:`_End` takes."""
    try:
        document = body()
    except Exception as exc:
        return False, functools.partial(_raise, exc)
    return True, lambda: document


def _raise(error: Exception) -> bytes:
    raise error
