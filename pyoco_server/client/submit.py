"""The client's calls that start runs.

Source: contract, section 3, rows ``POST /runs``, ``/runs/yaml`` and ``/runs/batch``; issue 4 (policies, reruns).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pyoco_server.client.transport import Transport, given, header_text, segment
from pyoco_server.errors import InvalidInput

#: Runs that one batch may have (contract 3).
BATCH_MAX_RUNS = 1_000
#: A batch takes half a second on a quick disk; a slow one gets the time that it needs.
BATCH_TIMEOUT_SEC = 60.0
_JSON = {"Content-Type": "application/json"}


class SubmitCalls(Transport):
    """Submits runs, one or many at a time, and those that have ended once more."""

    def submit_run(
        self,
        flow_name: str,
        params: Mapping[str, Any] | None = None,
        *,
        tag: str | None = None,
        tags: list[str] | None = None,
        max_attempts: int | None = None,
        retry_delay_sec: float | None = None,
        timeout_sec: float | None = None,
        resume: bool | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Submit a run of a flow that the workers of ``tag`` know (``POST /runs``).

        :param flow_name: the name by which the workers' resolver knows the flow.
        :param params: inputs of the flow; must be JSON values.
        :param tag: routing tag; the gateway's default when ``None``.
        :param tags: free labels for display and filters.
        :param max_attempts: attempts that may fail before the run does, 1 to 50; 1 when ``None``.
        :param retry_delay_sec: seconds from the first failure to the next attempt, doubled with each failure up to an
            hour; 10 when ``None``.
        :param timeout_sec: seconds that each attempt may take; 0 = as long as it likes, ``None`` = the worker's limit.
        :param resume: whether a later attempt leaves out the tasks that an earlier one has finished; it does when
            ``None``.
        :param idempotency_key: names this submission, 1 to 255 printable ASCII characters: sent again with the same
            arguments it gives the run of the first time, so that it is safe to repeat whatever happened.
        :return: ``{run_id, status}``; the run is stored and queued.
        :raises InvalidInput: a parameter that JSON cannot carry; nothing was sent.
        :raises GatewayRefused: with status 422 for invalid input, 413 for too large, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; the run may have been submitted, so look before you repeat.
        """
        body = {"flow_name": flow_name, "params": dict(params or {}), **given(tag=tag, tags=tags)}
        body |= policy_of(max_attempts, retry_delay_sec, timeout_sec, resume)
        headers = {**_JSON, **_key_header(idempotency_key)}
        return self._object("POST", "/runs", data=json_body(body), headers=headers)

    def submit_run_yaml(
        self,
        workflow_yaml: str,
        *,
        flow_name: str,
        tag: str | None = None,
        params: Mapping[str, Any] | None = None,
        max_attempts: int | None = None,
        retry_delay_sec: float | None = None,
        timeout_sec: float | None = None,
        resume: bool | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Submit a run of the flow in a flow.yaml (``POST /runs/yaml``).

        :param workflow_yaml: the text of the file.
        :param flow_name: a name for lists and metrics.
        :param params: laid over the defaults of the file; gateways of 0.5.1 ignore them.
        :param tag: routing tag; the gateway's default when ``None``.
        :param max_attempts: see :meth:`submit_run`.
        :param retry_delay_sec: see there.
        :param timeout_sec: see there.
        :param resume: see there.
        :param idempotency_key: see there.
        :return: ``{run_id, status}``, with ``warnings`` (a list of ``{loc, msg, line, column}``) where something in
            the file is allowed and probably not meant; the run is stored and queued.
        :raises GatewayRefused: with status 422 (``problem["errors"]`` names each fault and its place), 413
            for too large, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; the run may have been submitted, so look before you repeat.
        """
        policy = policy_of(max_attempts, retry_delay_sec, timeout_sec, resume)
        fields: dict[str, str | bytes] = {name: json.dumps(value) for name, value in policy.items()}
        fields["flow_name"] = flow_name
        if tag is not None:
            fields["tag"] = tag
        if params:
            fields["params"] = json_body(dict(params))
        files = {"workflow": ("flow.yaml", workflow_yaml.encode(), "application/x-yaml")}
        headers = _key_header(idempotency_key)
        return self._object("POST", "/runs/yaml", data=fields, files=files, headers=headers)

    def submit_batch(self, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Submit up to :data:`BATCH_MAX_RUNS` runs of flows that workers know (``POST /runs/batch``).

        :param runs: of each run what :meth:`submit_run` takes, by the same names, without ``idempotency_key``.
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
        max_attempts: int | None = None,
        retry_delay_sec: float | None = None,
        timeout_sec: float | None = None,
        resume: bool | None = None,
    ) -> list[dict[str, Any]]:
        """Submit the flow in a flow.yaml once for each set of parameters (``POST /runs/batch``).

        :param workflow_yaml: the text of the file.
        :param flow_name: a name for lists and metrics.
        :param params: up to :data:`BATCH_MAX_RUNS` sets, each laid over the defaults of the file.
        :param tag: routing tag; the gateway's default when ``None``.
        :param tags: free labels for display and filters.
        :param max_attempts: see :meth:`submit_run`.
        :param retry_delay_sec: see there.
        :param timeout_sec: see there.
        :param resume: see there.
        :return: see :meth:`submit_batch`.
        :raises GatewayRefused: all errors as for :meth:`submit_batch`; a fault in the file is one of the whole batch.
        """
        body = {"workflow": workflow_yaml, "flow_name": flow_name, "params": [dict(one) for one in params]}
        body |= given(tag=tag, tags=tags) | policy_of(max_attempts, retry_delay_sec, timeout_sec, resume)
        return self._batch(body, len(params))

    def _batch(self, body: dict[str, Any], count: int) -> list[dict[str, Any]]:
        timeout_sec = max(self._timeout_sec, BATCH_TIMEOUT_SEC)
        answer = self._object("POST", "/runs/batch", timeout=timeout_sec, data=json_body(body), headers=_JSON)
        results = answer.get("runs")
        if not isinstance(results, list) or len(results) != count:
            raise self._nonsense("POST", "/runs/batch", "one result for each run was expected")
        return results

    def rerun(self, run_id: str, *, from_failed: bool = False, idempotency_key: str | None = None) -> dict[str, Any]:
        """Submit a run that has ended again, as a new one (``POST /runs/{run_id}/rerun``).

        :param from_failed: leave out the tasks that had succeeded, where their stored results are whole.
        :param idempotency_key: see :meth:`submit_run`.
        :return: ``{run_id, status}`` of the new run.
        :raises GatewayRefused: with status 404 where there is no such run, 409 where it has not ended or not all that
            is needed is kept, 503 while NATS is away.
        :raises GatewayUnreachable: no answer; the run may have been submitted, so look before you repeat.
        """
        body = json_body({"from": "failed" if from_failed else "all"})
        headers = {**_JSON, **_key_header(idempotency_key)}
        return self._object("POST", f"/runs/{segment(run_id)}/rerun", data=body, headers=headers)


def policy_of(
    max_attempts: int | None, retry_delay_sec: float | None, timeout_sec: float | None, resume: bool | None
) -> dict[str, Any]:
    """Give what was said of how a run is tried, by the names that the API has for it."""
    return given(max_attempts=max_attempts, retry_delay_sec=retry_delay_sec, timeout_sec=timeout_sec, resume=resume)


def _key_header(key: str | None) -> dict[str, str]:
    if key is None:
        return {}
    return {"Idempotency-Key": header_text("idempotency key", key)}


def json_body(body: Mapping[str, Any]) -> bytes:
    """Give the JSON of what is submitted.

    :raises InvalidInput: a value that JSON cannot carry.
    """
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as exc:
        raise InvalidInput(f"The parameters of a run must be JSON values: {exc}.") from exc
