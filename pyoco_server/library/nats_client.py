"""Submitting and reading runs on NATS itself, without a gateway.

Source: contract, section 5, "Python API".
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from pyoco_server.bridge import resources
from pyoco_server.bridge.client import Bus
from pyoco_server.client.submit import json_body, policy_of
from pyoco_server.client.transport import given
from pyoco_server.config import Config
from pyoco_server.gateway.inputs import RunInput, read_json_object, read_model
from pyoco_server.gateway.queries import SubmitHeaders
from pyoco_server.library.connection import CLOSE_SEC, connected_bus
from pyoco_server.operations.authenticate import ANYBODY
from pyoco_server.operations.submit import RunRequest, Submission, new_origin
from pyoco_server.service import Deadline
from pyoco_server.stores.idempotency import IdempotencyStore
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore
from pyoco_server.stores.workflows import WorkflowStore


class PyocoNatsClient:
    """Submits and reads runs without a gateway; threads may share it.

    It asks for no API key and its runs belong to no tenant: who reaches NATS reaches everything. Use it as a context
    manager, or call :meth:`close`. It has a thread of its own, which a process that is forked from this one has not:
    connect after the fork.
    """

    def __init__(self, bus: Bus, config: Config) -> None:
        self._bus = bus
        self._config = config
        self._runs = RunStore(bus, config)
        self._submission = Submission(
            bus,
            self._runs,
            Queue(bus, config),
            WorkflowStore(bus),
            IdempotencyStore(bus),
            # So that any gateway completes what this process leaves half done.
            origin=new_origin(),
            published=lambda run_id: None,
            withdrawn=lambda run_id, revision: None,
        )

    @classmethod
    def connect(cls, config: Config | None = None) -> PyocoNatsClient:
        """Connect, and create what is missing in NATS.

        :param config: the settings; read from the environment when ``None``.
        :raises BusUnavailable: NATS does not answer.
        :raises BusError: NATS refuses, as without JetStream.
        :raises InvalidSetting: a setting does not parse.
        """
        config = config or Config.from_env()
        bus = connected_bus(config)
        try:
            resources.ensure_resources(bus, config)
        except BaseException:
            bus.close(Deadline(CLOSE_SEC))
            raise
        return cls(bus, config)

    def __enter__(self) -> PyocoNatsClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
    ) -> str:
        """Submit a run of a flow that the workers of ``tag`` know.

        :param flow_name: the name by which the workers' resolver knows the flow.
        :param params: inputs of the flow; must be JSON values.
        :param tag: routing tag; ``PYOCO_DEFAULT_TAG`` when ``None``.
        :param tags: free labels; ``[tag]`` when ``None``.
        :param max_attempts: see :meth:`PyocoHttpClient.submit_run`.
        :param retry_delay_sec: see there.
        :param timeout_sec: see there.
        :param resume: see there.
        :param idempotency_key: see there.
        :return: the run id; the run is stored and queued.
        :raises InvalidInput: a value that is out of its range or of the wrong kind; ``faults`` names each.
        :raises TooLarge: the parameters are too large for a snapshot or for NATS.
        :raises BusUnavailable: NATS does not answer; nothing was accepted, unless it is a ``SubmissionUncertain``,
            whose ``run_id`` may have been. With an idempotency key it is safe to repeat all the same.
        """
        policy = policy_of(max_attempts, retry_delay_sec, timeout_sec, resume)
        values = {"flow_name": flow_name, "params": dict(params or {}), **given(tag=tag, tags=tags), **policy}
        # The same checks as of POST /runs, for the same workers read it.
        asked = read_model(RunInput, read_json_object(json_body(values), "run"), "run")
        default_tag = self._config.default_tag
        wanted = RunRequest.of(
            ANYBODY, default_tag, asked.flow_name, asked.tag, asked.tags, asked.params, policy=asked.policy
        )
        sent = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        key = read_model(SubmitHeaders, sent, "header").idempotency_key
        submission = self._submission
        return (submission.submit(wanted) if key is None else submission.submit_once(wanted, key)).run_id

    def get_run(self, run_id: str) -> dict[str, Any]:
        """Read the snapshot of a run, with its task records.

        :return: see :meth:`PyocoHttpClient.get_run_with_records`; nothing of its worker is added.
        :raises RunNotFound: there is none.
        :raises BusUnavailable: NATS does not answer; safe to repeat.
        """
        return self._runs.get(run_id).snapshot.to_document()

    def close(self) -> None:
        """Disconnect; works twice."""
        self._bus.close(Deadline(CLOSE_SEC))
