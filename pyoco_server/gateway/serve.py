"""The gateway process: owns the connection, the read model, the dispatcher thread and the HTTP server.

Source: design, sections 1 and 8.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

from pyoco_server.bridge.client import GATEWAY_BUDGET_SEC, Bus
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import InvalidCommand, PyocoServerError, Unavailable
from pyoco_server.gateway.canceller import Canceller
from pyoco_server.gateway.context import Gateway
from pyoco_server.gateway.dispatcher import Dispatcher
from pyoco_server.gateway.http_server import BACKLOG, HttpServer
from pyoco_server.gateway.instruments import Instruments
from pyoco_server.gateway.lease_keeper import LeaseKeeper
from pyoco_server.gateway.limits import max_bytes_in_work
from pyoco_server.gateway.room import Room
from pyoco_server.gateway.streams import Streams
from pyoco_server.operations.authenticate import Authentication
from pyoco_server.operations.cancel import Cancellation
from pyoco_server.operations.dead_letters import DeadLetters
from pyoco_server.operations.finish import Finish
from pyoco_server.operations.heartbeats import Heartbeats
from pyoco_server.operations.holder import Holders
from pyoco_server.operations.janitor import Janitor
from pyoco_server.operations.job_search import JobSearch
from pyoco_server.operations.polling import Polling
from pyoco_server.operations.retention import Retention
from pyoco_server.operations.retry import Retries
from pyoco_server.operations.submit import Submission, new_origin
from pyoco_server.operations.sweep import Sweep
from pyoco_server.operations.wheels import WheelRegistry
from pyoco_server.operations.worker_registry import WorkerRetirement
from pyoco_server.readmodel.counts import count_runs
from pyoco_server.readmodel.model import ReadModel
from pyoco_server.readmodel.polled import PolledRuns
from pyoco_server.service import Deadline, Service
from pyoco_server.states import RunStatus
from pyoco_server.stores.advisories import AdvisoryStore
from pyoco_server.stores.artifacts import ArtifactStore
from pyoco_server.stores.deadletters import DeadLetterStore
from pyoco_server.stores.idempotency import IdempotencyStore
from pyoco_server.stores.logs import LogStore
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunStore
from pyoco_server.stores.storage import StorageLook
from pyoco_server.stores.wheels import WheelHistory, WheelStore
from pyoco_server.stores.workers import WorkerStore
from pyoco_server.stores.workflows import WorkflowStore

logger = logging.getLogger(__name__)

#: How long NATS may take to answer when the gateway starts.
CONNECT_TIMEOUT_SEC = 4.0
#: How long a cluster of NATS may take then to have a leader for a stream: its machines may start at the same moment.
_LEADER_TIMEOUT_SEC = 60.0


class GatewayServer:
    """Starts and stops the parts of a gateway, in order.

    :param listener: the address that it serves; ``None`` where another HTTP server runs its application.
    :param on_failure: called when one of its threads dies; it must not go on then.
    """

    def __init__(self, config: Config, listener: socket.socket | None, on_failure: Callable[[Service], None]) -> None:
        self._bus = Bus.of(
            config, names.GATEWAY_ROLE, name="pyoco-gateway", budget_sec=GATEWAY_BUDGET_SEC, waits_when_down=True
        )
        self._config = config
        self._listener = listener
        self._on_failure = on_failure
        self._services: list[Service] = []
        self._gateway: Gateway | None = None
        self._is_serving = False

    def start(self) -> None:
        """Connect and serve.

        :raises BusUnavailable: NATS does not answer.
        :raises InvalidSetting: the file of the read model cannot be used. In both cases nothing is left running.
        """
        self._bus.connect(CONNECT_TIMEOUT_SEC)
        try:
            # No request waits yet.
            budget_sec = _LEADER_TIMEOUT_SEC if self._bus.is_clustered else GATEWAY_BUDGET_SEC
            ensure_resources(self._bus, self._config, budget_sec=budget_sec)
            self._bus.stop_waiting()
            self._start_parts()
        except PyocoServerError:
            self.stop(Deadline(5))
            raise
        self._is_serving = True
        if self._listener is not None:
            host, port = self._listener.getsockname()[:2]
            logger.info("the gateway serves at http://%s:%s", host, port)

    @property
    def parts(self) -> Gateway:
        """What the routes work with; :meth:`start` has made it."""
        assert self._gateway is not None, "start() comes first"
        return self._gateway

    def state(self) -> tuple[bool, str]:
        """Give whether it serves and has loaded the list of runs, and a few words; not to be asked after a stop."""
        gateway = self._gateway
        if gateway is None or not self._is_serving:
            return False, "waits for NATS"
        if not self._bus.is_connected:
            return False, f"serves, but NATS is away: {self._bus.last_error}"
        try:
            counts = count_runs(gateway.model, time.time())
        except Unavailable:
            return False, "serves, and loads the list of runs"
        waiting, running = (counts[status].total for status in (RunStatus.PENDING, RunStatus.RUNNING))
        return True, f"serves: {waiting} runs wait, {running} run"

    def stuck(self) -> list[str]:
        """Give the names of the threads that do not come round any more."""
        stuck = [service.name for service in (self._bus.thread, *self._services) if service.is_stuck]
        return stuck if self._gateway is None else [*stuck, *self._gateway.model.stuck()]

    def stop(self, deadline: Deadline) -> None:
        """Stop in the order of who needs whom: requests first, the connection last."""
        if self._gateway is not None:
            self._gateway.stopping.set()
            self._gateway.model.wake_watches()
        for service in self._services:
            service.stop(deadline)
        if self._gateway is not None:
            self._gateway.model.stop(deadline)
        self._bus.close(deadline)
        if self._listener is not None:
            self._listener.close()

    def _start_parts(self) -> None:
        model = ReadModel(self._bus, self._config, self._on_failure)
        runs, queue, workflows = (
            RunStore(self._bus, self._config, note_read=model.note_seen),
            Queue(self._bus, self._config),
            WorkflowStore(self._bus),
        )
        letters, logs = DeadLetterStore(self._bus, self._config), LogStore(self._bus)
        instruments = Instruments(self._bus, model, self._config)
        sweep = Sweep(model, runs, queue, workflows, letters)
        self._bus.on_disconnect(sweep.forget)
        submission = Submission(
            self._bus,
            runs,
            queue,
            workflows,
            IdempotencyStore(self._bus),
            origin=new_origin(),
            published=sweep.note_queued,
            withdrawn=model.withdraw,
        )
        authentication = Authentication(self._config, model.keys)
        places = threading.Semaphore(self._config.max_watches)
        workers = WorkerStore(self._bus, self._config)
        holders = Holders(
            runs,
            workers,
            disconnect_timeout_sec=self._config.worker_disconnect_timeout_sec,
            cancel_grace_sec=self._config.cancel_grace_period_sec,
        )
        cancellation = Cancellation(runs, holders, model, JobSearch(queue))
        wheels = WheelRegistry(
            WheelStore(self._bus, self._config),
            WheelHistory(self._bus, self._config),
            max_bytes=self._config.wheel_max_bytes,
        )
        storage = StorageLook(self._bus, self._config)
        polled = PolledRuns(model)
        finish = Finish(queue.deliveries, runs, letters, worker_id=None)
        heartbeats = Heartbeats(queue, runs, logs, finish, self._config, written=model.note_seen)
        self._gateway = Gateway(
            self._config,
            self._bus,
            runs,
            workers,
            model,
            instruments,
            workflows,
            submission,
            cancellation,
            DeadLetters(letters, runs, workflows, submission),
            Polling(polled, queue, runs, holders, letters, self._config),
            heartbeats,
            logs,
            ArtifactStore(self._bus),
            storage,
            authentication,
            wheels,
            places,
            Room(max_bytes_in_work(self._config)),
        )
        retirement = WorkerRetirement(
            workers,
            model,
            retention_sec=self._config.worker_retention_sec,
            disconnect_timeout_sec=self._config.worker_disconnect_timeout_sec,
        )
        janitor = Janitor(queue, runs, holders, AdvisoryStore(self._bus), letters)
        retries = Retries(model, runs, sweep)
        retention = Retention(runs, model, queue, retention_sec=self._config.run_retention_sec)
        dispatcher = Dispatcher(
            self._bus,
            self._config,
            model,
            sweep,
            janitor,
            retries,
            retention,
            retirement,
            wheels,
            storage,
            self._on_failure,
        )
        canceller = Canceller(cancellation, model, self._on_failure)
        keeper = LeaseKeeper(self._config, polled, runs, queue.deliveries, heartbeats, self._on_failure)
        self._services = [dispatcher, canceller, keeper]
        if self._listener is not None:
            streams = Streams(model, self._on_failure)
            self._services[:0] = [HttpServer(self._listener, self._gateway, streams, self._on_failure), streams]
        model.start()
        # Requests last: they need all the others.
        for service in reversed(self._services):
            service.start()


def listen(host: str, port: int) -> socket.socket:
    """Take the address that a gateway serves.

    :param port: 0 takes any free one.
    :raises InvalidCommand: the port is in use, or the host is not one of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as exc:
        raise InvalidCommand(
            f"The gateway cannot listen on {host}:{port}: {exc.strerror or exc}. Stop what uses it, or give --port."
        ) from exc
