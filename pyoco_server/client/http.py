"""The synchronous HTTP client: one method per route, a timeout on each.

It speaks to gateways of this package and of the published 0.5.1. The calls that start, follow and clear up runs have
modules of their own; those that read stand here.

Source: contract, sections 3 and 5 ("Python API").
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from pyoco_server.client.artifacts import ArtifactCalls
from pyoco_server.client.dead_letters import DeadLetterCalls
from pyoco_server.client.logs import LogCalls
from pyoco_server.client.submit import SubmitCalls
from pyoco_server.client.transport import given, segment
from pyoco_server.client.watch import WatchCalls
from pyoco_server.client.wheels import WheelCalls
from pyoco_server.errors import CancelNotFinished
from pyoco_server.states import TERMINAL

#: How long a cancel waits for the run's end where nothing else is said: as long as workers let a run go on.
CANCEL_WAIT_SEC = 30.0


class PyocoHttpClient(SubmitCalls, WatchCalls, LogCalls, ArtifactCalls, DeadLetterCalls, WheelCalls):
    """A client of one gateway; not to be shared between threads, except for :meth:`close`.

    Use it as a context manager, or call :meth:`close`, so that its connections are returned.

    :param base_url: address of the gateway, with scheme.
    :param api_key: sent with every request; ``None`` sends none.
    :param api_key_header: the header that carries the key.
    :param timeout_sec: seconds to wait for a connection, and again for each piece of an answer.
    :raises InvalidInput: key or header name has characters that HTTP cannot carry.
    """

    def get_run(self, run_id: str, *, wait_sec: float | None = None) -> dict[str, Any]:
        """Read the snapshot of a run, without task records (``GET /runs/{run_id}``).

        :param wait_sec: have the answer held back until the run has ended, for so many seconds at most, 0 to 60; a
            gateway of 0.5.1 answers at once all the same.
        :return: the snapshot, ``{run_id, flow_name, tag, tags, status, params, tasks, error, start_time, end_time,
            updated_at, …}``: ``tasks`` has the state of each task by its name. Where a worker is known, also
            ``worker_alive worker_state worker_heartbeat_at worker_hidden worker_tags``.
        :raises GatewayRefused: with status 404 where there is no such run.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        timeout_sec = self._timeout_sec + (wait_sec or 0)
        return self._object("GET", f"/runs/{segment(run_id)}", timeout=timeout_sec, params=given(wait=wait_sec))

    def get_run_with_records(self, run_id: str) -> dict[str, Any]:
        """Read the snapshot of a run with ``task_records`` (``GET /runs/{run_id}?include=records``).

        :return: the snapshot; ``task_records`` has for each task ``{state, started_at, ended_at, duration_ms, error,
            traceback, inputs, output, artifacts}``, and ``task_records_truncated`` says whether anything is missing.
        :raises GatewayRefused: with status 404 where there is no such run.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("GET", f"/runs/{segment(run_id)}", params={"include": "records"})

    def get_tasks(self, run_id: str) -> dict[str, Any]:
        """Read the tasks of a run (``GET /runs/{run_id}/tasks``).

        :return: ``{run_id, flow_name, status, tasks, task_records, task_records_truncated}``; for records see
            :meth:`get_run_with_records`.
        :raises GatewayRefused: with status 404 where there is no such run.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("GET", f"/runs/{segment(run_id)}/tasks")

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

        :param status: such as ``FAILED``; any when ``None``, as with the next two.
        :param flow: name of a flow.
        :param tag: routing tag.
        :param full: whole snapshots instead of summaries.
        :param limit: 1 to 200; the gateway's 50 when ``None``.
        :return: summaries, ``{run_id, flow_name, tag, tags, tenant_id, api_key_id, status, updated_at, heartbeat_at,
            worker_id, error, start_time, end_time, attempt}``, or snapshots.
        :raises GatewayRefused: with status 422 for a query value out of its range, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        query = given(status=status, flow=flow, tag=tag, include="full" if full else None, limit=limit)
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

        :param status: such as ``FAILED``; any when ``None``, as with the next two.
        :param flow: name of a flow.
        :param tag: routing tag.
        :param full: whole snapshots instead of summaries.
        :param limit: size of a page, 1 to 200; the gateway's 50 when ``None``.
        :param updated_after: unix seconds, exclusive.
        :param cursor: ``next_cursor`` of the page before.
        :param workflow_yaml_sha256: hash of the flow.yaml, hexadecimal: only runs of this very text.
        :return: ``{items, next_cursor}``; for items see :meth:`list_runs`. The cursor is ``None`` on the last page.
        :raises GatewayRefused: with status 422 for a query value out of its range, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        if updated_after is None and cursor is None and workflow_yaml_sha256 is None:
            # Without one of the three the gateway answers an array, which has no place for a cursor.
            updated_after = 0.0
        query = given(
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

    def cancel_run(self, run_id: str, *, wait: bool = False, timeout_sec: float | None = None) -> dict[str, Any]:
        """Ask for the end of a run (``POST /runs/{run_id}/cancel``); a second request changes nothing.

        :param wait: return when the run has ended, and not as soon as it is marked.
        :param timeout_sec: seconds that ``wait`` waits at most; :data:`CANCEL_WAIT_SEC` when ``None``.
        :return: without ``wait`` the snapshot as marked, without task records: ``status`` is ``CANCELLING``, or the
            terminal one of a run that had ended before. With ``wait`` the terminal snapshot, without them too.
        :raises CancelNotFinished: the run goes on after ``timeout_sec``; the request stands.
        :raises GatewayRefused: with status 404 where there is no such run, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        run = self._object("POST", f"/runs/{segment(run_id)}/cancel")
        if not wait or run.get("status") in TERMINAL:
            return run
        wait_sec = CANCEL_WAIT_SEC if timeout_sec is None else timeout_sec
        watch = self.watch_run(run_id, timeout_sec=wait_sec, until_terminal=True, is_known=True)
        with closing(watch) as events:
            for event in events:
                run = event["data"].get("snapshot") or run
        if run.get("status") not in TERMINAL:
            raise CancelNotFinished(
                f"Run {run_id} is still {run.get('status')} after {wait_sec:g} s; the request stands."
            )
        return run

    def get_workers(
        self,
        *,
        scope: str | None = None,
        state: str | None = None,
        include_hidden: bool | None = None,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """List workers, the one that was seen last first (``GET /workers``).

        :param scope: ``active`` (those that live; the gateway's default) or ``all``.
        :param state: ``RUNNING``, ``IDLE``, ``STOPPED_GRACEFUL`` or ``DISCONNECTED``; the last two need scope ``all``.
        :param include_hidden: also those that :meth:`patch_worker_hidden` has hidden.
        :param limit: 1 to 500; the gateway's 100 when ``None``.
        :return: the workers' records, ``{worker_id, state, tags, last_seen_at, current_run_id, last_run_id, hidden,
            host, version, wheel_sync, …}``, with ``state`` as the gateway derives it.
        :raises GatewayRefused: with status 422 for a query value out of its range, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        hidden = "true" if include_hidden else None
        query = given(scope=scope, state=state, include_hidden=hidden, limit=limit)
        return self._list("/workers", query)

    def patch_worker_hidden(self, worker_id: str, hidden: bool) -> dict[str, Any]:
        """Hide a worker from lists, or show it again; it goes on all the same (``PATCH /workers/{worker_id}``).

        :return: ``{worker_id, hidden, updated_at}``.
        :raises GatewayRefused: with status 404 where there is no such worker, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("PATCH", f"/workers/{segment(worker_id, 'worker')}", json={"hidden": hidden})

    def drain_worker(self, worker_id: str) -> dict[str, Any]:
        """Ask a worker to take no more runs and to stop as by SIGTERM (``POST /workers/{worker_id}/drain``).

        It ends the runs that it has within its own ``--drain-sec``, and hands back the rest.

        :return: ``{worker_id, drain_requested_at}``, unix seconds; asked again, the time of the first request.
        :raises GatewayRefused: with status 404 where there is no such worker, 409 for one that is gone or of a version
            that cannot be asked, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._object("POST", f"/workers/{segment(worker_id, 'worker')}/drain")

    def get_metrics(self) -> str:
        """Read the metrics of the installation (``GET /metrics``).

        :return: lines in Prometheus' text format 0.0.4.
        :raises GatewayRefused: with status 503 while NATS is away.
        :raises GatewayUnreachable: no answer; safe to repeat.
        """
        return self._text("GET", "/metrics")
