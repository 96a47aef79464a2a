"""The synchronous HTTP client: one method per route, a timeout on each.

It speaks to gateways of this package and of the published 0.5.1.

Source: contract, sections 3 and 5 ("Python API").
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

from urllib3.exceptions import HTTPError, ReadTimeoutError

from pyoco_server.client.dead_letters import DeadLetterCalls
from pyoco_server.client.event_stream import EventDecoder
from pyoco_server.client.refusals import reason
from pyoco_server.client.transport import header_text, query_of, segment
from pyoco_server.client.wheels import WheelCalls
from pyoco_server.errors import GatewayRefused, GatewayUnreachable, InvalidInput
from pyoco_server.states import TERMINAL

#: Seconds without a byte after which a watch counts as broken. Gateways of this package write every 2 s,
#: those of 0.5.1 every 5 s and a little more: their own client, which waits for 5 s, loses that race.
WATCH_SILENCE_SEC = 15.0
#: The longest stream that a gateway grants (contract 3, ``timeout_sec``).
WATCH_STREAM_MAX_SEC = 600
#: How long a watch until the run's end puts up with a gateway that is away; a restart takes less.
WATCH_OUTAGE_MAX_SEC = 30.0
#: Runs that one batch may have (contract 3).
BATCH_MAX_RUNS = 1_000
#: A batch takes half a second on a quick disk; a slow one gets the time that it needs.
BATCH_TIMEOUT_SEC = 60.0
#: Answers that say "not now": a restart behind a proxy, NATS away, all places for watches taken.
_PASSING_STATUS = frozenset({429, 502, 503, 504})
#: Shortest and longest pause before a watch opens its next stream.
_PAUSE_MIN_SEC, _PAUSE_MAX_SEC = 0.2, 2.0
_JSON = {"Content-Type": "application/json"}


class PyocoHttpClient(DeadLetterCalls, WheelCalls):
    """A client of one gateway; not to be shared between threads, except for :meth:`close`.

    Use it as a context manager, or call :meth:`close`, so that its connections are returned. Its parameters
    are those of :class:`Transport`; :class:`DeadLetterCalls` and :class:`WheelCalls` have what it knows of those.
    """

    def submit_run(
        self,
        flow_name: str,
        params: Mapping[str, Any] | None = None,
        *,
        tag: str | None = None,
        tags: list[str] | None = None,
        policy: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Submit a run of a flow that the workers of ``tag`` know (``POST /runs``).

        :param params: inputs of the flow; must be JSON values.
        :param tag: routing tag; the gateway's default when ``None``.
        :param tags: free labels for display and filters.
        :param policy: how it is tried: ``max_attempts``, ``retry_delay_sec``, ``timeout_sec``, ``resume``.
        :param idempotency_key: names this submission, 1 to 255 printable ASCII characters: sent again with the same
            arguments it gives the run of the first time, so that it is safe to repeat whatever happened.
        :return: ``{run_id, status}``; the run is stored and queued.
        :raises InvalidInput: a parameter that JSON cannot carry; nothing was sent.
        :raises GatewayRefused: with status 422 for invalid input, 413 for too large, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; the run may have been submitted, so look before you repeat.
        """
        body: dict[str, Any] = {**(policy or {}), "flow_name": flow_name, "params": dict(params or {})}
        if tag is not None:
            body["tag"] = tag
        if tags is not None:
            body["tags"] = tags
        headers = {**_JSON, **_key_header(idempotency_key)}
        return self._object("POST", "/runs", data=_json_body(body), headers=headers)

    def submit_run_yaml(
        self,
        workflow_yaml: str,
        *,
        flow_name: str,
        tag: str | None = None,
        params: Mapping[str, Any] | None = None,
        policy: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Submit a run of the flow in a flow.yaml (``POST /runs/yaml``).

        :param workflow_yaml: the text of the file.
        :param params: laid over the defaults of the file; gateways of 0.5.1 ignore them.
        :param tag: routing tag; the gateway's default when ``None``.
        :param policy: see :meth:`submit_run`, as is ``idempotency_key``.
        :return: ``{run_id, status}``, with ``warnings`` (a list of ``{loc, msg, line, column}``) where something in
            the file is allowed and probably not meant; the run is stored and queued.
        :raises GatewayRefused: with status 422 (``problem["errors"]`` names each fault and its place), 413
            for too large, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; the run may have been submitted, so look before you repeat.
        """
        fields: dict[str, str | bytes] = {name: json.dumps(value) for name, value in (policy or {}).items()}
        fields["flow_name"] = flow_name
        if tag is not None:
            fields["tag"] = tag
        if params:
            fields["params"] = _json_body(dict(params))
        files = {"workflow": ("flow.yaml", workflow_yaml.encode(), "application/x-yaml")}
        headers = _key_header(idempotency_key)
        return self._object("POST", "/runs/yaml", data=fields, files=files, headers=headers)

    def submit_batch(self, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Submit up to :data:`BATCH_MAX_RUNS` runs of flows that workers know (``POST /runs/batch``).

        :param runs: of each run what :meth:`submit_run` takes: ``{flow_name, params, tag, tags}``.
        :return: in the order of ``runs``, for each ``{run_id, status: "PENDING"}``, or its problem document (RFC
            9457), whose ``status`` is a number; where that has a ``run_id``, the run may have been accepted.
        :raises InvalidInput: a value that JSON cannot carry; nothing was sent.
        :raises GatewayRefused: with status 422 for a body that makes no sense as a whole, 413 for too large, 503
            when NATS took none of the runs; nothing was submitted.
        :raises GatewayUnreachable: no answer; the runs may have been submitted, so look before you repeat.
        """
        return self._batch({"runs": [dict(run) for run in runs]}, len(runs))

    def submit_batch_yaml(
        self,
        workflow_yaml: str,
        params: Sequence[Mapping[str, Any]],
        *,
        flow_name: str,
        tag: str | None = None,
        tags: list[str] | None = None,
        policy: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Submit the flow in a flow.yaml once for each set of parameters (``POST /runs/batch``).

        :param workflow_yaml: the text of the file.
        :param params: up to :data:`BATCH_MAX_RUNS` sets, each laid over the defaults of the file.
        :param tag: routing tag; the gateway's default when ``None``.
        :param tags: free labels for display and filters.
        :param policy: of each run; see :meth:`submit_run`.
        :return: see :meth:`submit_batch`.
        :raises InvalidInput: all errors as for :meth:`submit_batch`; a fault in the file is one of the whole batch.
        """
        body: dict[str, Any] = {**(policy or {}), "workflow": workflow_yaml, "flow_name": flow_name}
        body["params"] = [dict(one) for one in params]
        return self._batch({**body, **query_of(tag=tag, tags=tags)}, len(params))

    def _batch(self, body: dict[str, Any], count: int) -> list[dict[str, Any]]:
        timeout_sec = max(self._timeout_sec, BATCH_TIMEOUT_SEC)
        answer = self._object("POST", "/runs/batch", timeout=timeout_sec, data=_json_body(body), headers=_JSON)
        results = answer.get("runs")
        if not isinstance(results, list) or len(results) != count:
            raise self._nonsense("POST", "/runs/batch", "one result for each run was expected")
        return results

    def get_run(self, run_id: str, *, wait_sec: float | None = None) -> dict[str, Any]:
        """Read the snapshot of a run, without task records (``GET /runs/{run_id}``).

        :param wait_sec: have the answer held back until the run has ended, for so many seconds at most, 0 to 60; a
            gateway of 0.5.1 answers at once all the same.
        :raises GatewayRefused: with status 404 where there is no such run.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        timeout_sec = self._timeout_sec + (wait_sec or 0)
        return self._object("GET", f"/runs/{segment(run_id)}", timeout=timeout_sec, params=query_of(wait=wait_sec))

    def get_run_with_records(self, run_id: str) -> dict[str, Any]:
        """Read the snapshot of a run with ``task_records``: times, inputs, outputs, errors of each task.

        :raises GatewayRefused: with status 404 where there is no such run.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("GET", f"/runs/{segment(run_id)}", params={"include": "records"})

    def get_tasks(self, run_id: str) -> dict[str, Any]:
        """Read the tasks of a run (``GET /runs/{run_id}/tasks``).

        :return: ``{run_id, flow_name, status, tasks, task_records, task_records_truncated}``.
        :raises GatewayRefused: with status 404 where there is no such run.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("GET", f"/runs/{segment(run_id)}/tasks")

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        """Ask for the end of a run (``POST /runs/{run_id}/cancel``); a second request changes nothing.

        :return: the snapshot as marked, without task records: ``status`` is ``CANCELLING``, or the terminal one of a
            run that had ended before. Follow the run (:meth:`watch_run`) to see its end.
        :raises GatewayRefused: with status 404 where there is no such run, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("POST", f"/runs/{segment(run_id)}/cancel")

    def get_workers(
        self,
        *,
        scope: str | None = None,
        state: str | None = None,
        include_hidden: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """List workers, the one that was seen last first (``GET /workers``).

        :param scope: ``active`` (those that live; the gateway's default) or ``all``.
        :param state: ``RUNNING``, ``IDLE``, ``STOPPED_GRACEFUL`` or ``DISCONNECTED``; the last two need scope ``all``.
        :param limit: 1 to 500; the gateway's 100 when ``None``.
        :return: the workers' records, with ``state`` as the gateway derives it.
        :raises GatewayRefused: with status 422 for a query value out of its range, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        hidden = "true" if include_hidden else None
        query = query_of(scope=scope, state=state, include_hidden=hidden, limit=limit)
        return self._list("/workers", query)

    def patch_worker_hidden(self, worker_id: str, hidden: bool) -> dict[str, Any]:
        """Hide a worker from lists, or show it again; it goes on all the same (``PATCH /workers/{worker_id}``).

        :return: ``{worker_id, hidden, updated_at}``.
        :raises GatewayRefused: with status 404 where there is no such worker, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("PATCH", f"/workers/{segment(worker_id, 'worker')}", json={"hidden": hidden})

    def get_metrics(self) -> str:
        """Read the metrics of the installation in Prometheus' text format (``GET /metrics``).

        :raises GatewayRefused: with status 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._text("GET", "/metrics")

    def rerun(self, run_id: str, *, from_failed: bool = False, idempotency_key: str | None = None) -> dict[str, Any]:
        """Submit a run that has ended again, as a new one (``POST /runs/{run_id}/rerun``).

        :param from_failed: leave out the tasks that had succeeded, where their stored results are whole.
        :param idempotency_key: see :meth:`submit_run`.
        :return: ``{run_id, status}`` of the new run.
        :raises GatewayRefused: with status 404 where there is no such run, 409 where it has not ended or not all that
            is needed is kept, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; the run may have been submitted, so look before you repeat.
        """
        body = _json_body({"from": "failed" if from_failed else "all"})
        headers = {**_JSON, **_key_header(idempotency_key)}
        return self._object("POST", f"/runs/{segment(run_id)}/rerun", data=body, headers=headers)

    def list_runs(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        tag: str | None = None,
        full: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """List runs, newest ``updated_at`` first (``GET /runs``).

        :param full: whole snapshots instead of summaries.
        :param limit: 1 to 200; the gateway's 50 when ``None``.
        :raises GatewayRefused: with status 422 for a query value out of its range, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        query = query_of(status=status, flow=flow, tag=tag, include="full" if full else None, limit=limit)
        return self._list("/runs", query)

    def list_runs_vnext(
        self,
        *,
        status: str | None = None,
        flow: str | None = None,
        tag: str | None = None,
        full: bool = False,
        limit: int | None = None,
        updated_after: float | None = None,
        cursor: str | None = None,
        workflow_yaml_sha256: str | None = None,
    ) -> dict[str, Any]:
        """List runs page by page, newest ``updated_at`` first (``GET /runs``).

        :param full: whole snapshots instead of summaries.
        :param limit: size of a page, 1 to 200; the gateway's 50 when ``None``.
        :param updated_after: unix seconds, exclusive.
        :param cursor: ``next_cursor`` of the page before.
        :return: ``{items, next_cursor}``; ``next_cursor`` is ``None`` on the last page.
        :raises GatewayRefused: with status 422 for a query value out of its range, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        if updated_after is None and cursor is None and workflow_yaml_sha256 is None:
            # Without one of the three the gateway answers an array, which has no place for a cursor.
            updated_after = 0.0
        query = query_of(
            status=status,
            flow=flow,
            tag=tag,
            include="full" if full else None,
            limit=limit,
            updated_after=updated_after,
            cursor=cursor,
            workflow_yaml_sha256=workflow_yaml_sha256,
        )
        answer = self._object("GET", "/runs", params=query)
        return {"items": answer.get("items") or [], "next_cursor": answer.get("next_cursor")}

    def watch_run(
        self,
        run_id: str,
        *,
        include_records: bool = False,
        since: float | None = None,
        timeout_sec: float | None = None,
        until_terminal: bool = False,
    ) -> Generator[dict[str, Any], None, None]:
        """Follow a run (``GET /runs/{run_id}/watch``); the request is made at the first ``next()``.

        Close the iterator (or the client) when you stop before its end.

        :param include_records: snapshots carry ``task_records``.
        :param since: unix seconds; a snapshot that is not newer is not sent.
        :param timeout_sec: whole seconds after which the stream ends, 1 to 600; the gateway's 60 when ``None``.
        :param until_terminal: go on with new streams until the terminal snapshot was given. ``timeout_sec``
            then bounds all streams together (no bound when ``None``, and more than 600 is allowed), and a
            connection that breaks is opened again, unless the gateway stays away for
            :data:`WATCH_OUTAGE_MAX_SEC`. Only the first connection must succeed at once.
        :return: dictionaries ``{event, data}``, with ``id`` where the gateway sends one: event ``snapshot``
            with data ``{run_id, snapshot, ts}``, event ``heartbeat`` with ``{run_id, ts}``.
        :raises GatewayRefused: with status 404 where there is no such run, 422 for a value out of its range.
        :raises GatewayUnreachable: no connection, a broken one, or :data:`WATCH_SILENCE_SEC` without a byte;
            safe to repeat.
        """
        segment(run_id)
        if until_terminal:
            return self._watch_until_terminal(run_id, include_records, since, timeout_sec)
        return self._watch_once(run_id, include_records, since, timeout_sec, None)

    def _watch_until_terminal(
        self, run_id: str, include_records: bool, since: float | None, timeout_sec: float | None
    ) -> Generator[dict[str, Any], None, None]:
        end = math.inf if timeout_sec is None else time.monotonic() + timeout_sec
        last_event_id: str | None = None
        last_snapshot: dict[str, Any] | None = None
        reached_at: float | None = None
        pause_sec = _PAUSE_MIN_SEC
        while (left_sec := end - time.monotonic()) > 0 and not self._closed.is_set():
            stream_sec = math.ceil(min(left_sec, WATCH_STREAM_MAX_SEC))
            try:
                stream = self._watch_once(run_id, include_records, since, stream_sec, last_event_id)
                with closing(stream):
                    for event in stream:
                        reached_at, pause_sec = time.monotonic(), _PAUSE_MIN_SEC
                        last_event_id = event.get("id", last_event_id)
                        snapshot = event["data"].get("snapshot")
                        if snapshot is not None:
                            if snapshot == last_snapshot:
                                # A gateway that knows no event ids begins each stream with the present state.
                                continue
                            last_snapshot, since = snapshot, snapshot.get("updated_at", since)
                        yield event
                        if snapshot is not None and snapshot.get("status") in TERMINAL:
                            return
                reached_at = time.monotonic()
            except (GatewayUnreachable, GatewayRefused) as exc:
                if reached_at is None or not _is_passing(exc):
                    raise
                if time.monotonic() - reached_at > WATCH_OUTAGE_MAX_SEC:
                    raise
            self._closed.wait(min(pause_sec, max(0.0, end - time.monotonic())))
            pause_sec = min(_PAUSE_MAX_SEC, pause_sec * 2)

    def _watch_once(
        self,
        run_id: str,
        include_records: bool,
        since: float | None,
        timeout_sec: float | None,
        last_event_id: str | None,
    ) -> Generator[dict[str, Any], None, None]:
        path = f"/runs/{segment(run_id)}/watch"
        query = query_of(include="records" if include_records else None, since=since, timeout_sec=timeout_sec)
        headers = {"Accept": "text/event-stream"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        timeouts = (self._timeout_sec, max(self._timeout_sec, WATCH_SILENCE_SEC))
        answer = self._send("GET", path, timeout=timeouts, stream=True, params=query, headers=headers)
        with closing(answer):
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise self._nonsense("GET", path, "an event stream was expected")
            decoder = EventDecoder()
            try:
                # read1 gives what has arrived; requests' own iterators wait until a piece is full.
                while chunk := answer.raw.read1(65536, decode_content=True):
                    yield from decoder.feed(chunk)
            except ReadTimeoutError as exc:
                raise GatewayUnreachable(
                    f"The gateway at {self._base_url} was silent for {timeouts[1]:g} s in the watch of run "
                    f"{run_id}; watch it again."
                ) from exc
            except (HTTPError, OSError) as exc:
                raise GatewayUnreachable(
                    f"The connection to the gateway at {self._base_url} broke in the watch of run {run_id}: "
                    f"{reason(exc)}; watch it again."
                ) from exc
            except ValueError as exc:
                raise self._nonsense("GET", path, "an event's data is not a JSON object") from exc


def _key_header(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"Idempotency-Key": header_text("idempotency key", key)}


def _json_body(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as exc:
        raise InvalidInput(f"The parameters of a run must be JSON values: {exc}.") from exc


def _is_passing(exc: GatewayUnreachable | GatewayRefused) -> bool:
    return isinstance(exc, GatewayUnreachable) or exc.status in _PASSING_STATUS
