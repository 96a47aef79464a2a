"""The worker process: owns the connection, the slots and what they need, and stops them in order.

Source: design, sections 1, 5 and 6.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import uuid
from collections.abc import Callable

from pyoco_server.bridge.client import WORKER_BUDGET_SEC, Bus
from pyoco_server.bridge.resources import ensure_resources
from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import BusError, BusUnavailable, InvalidCommand, PyocoServerError
from pyoco_server.operations.claim import Claims
from pyoco_server.operations.finish import Finish
from pyoco_server.operations.holder import Holders
from pyoco_server.operations.permissions import streams_of
from pyoco_server.service import Deadline, Service
from pyoco_server.stores.artifacts import ArtifactStore
from pyoco_server.stores.deadletters import DeadLetterStore
from pyoco_server.stores.logs import LogStore
from pyoco_server.stores.queue import Queue
from pyoco_server.stores.runs import RunHints, RunStore
from pyoco_server.stores.wheels import WheelStore
from pyoco_server.stores.workers import WorkerStore
from pyoco_server.worker.child import Child
from pyoco_server.worker.consumer import Consumer
from pyoco_server.worker.health import Condition
from pyoco_server.worker.lease import Lease
from pyoco_server.worker.nursery import Nursery
from pyoco_server.worker.options import WorkerOptions
from pyoco_server.worker.output_sender import OutputSender
from pyoco_server.worker.registry import Registry
from pyoco_server.worker.runner_link import ChildBootFailed, ChildDied, RunnerLink
from pyoco_server.worker.runners import Runners
from pyoco_server.worker.scratch import Scratch
from pyoco_server.worker.sentinel import Sentinel
from pyoco_server.worker.slot import Slot, Tools
from pyoco_server.worker.wheel_set import NO_WHEELS, WheelSet
from pyoco_server.worker.wheelsync import WheelSync
from pyoco_server.worker.work import OneRun

logger = logging.getLogger(__name__)

#: After the time to let runs go on is over: for killing runners and handing back their jobs.
_HAND_BACK_SEC = 5.0
#: Runners that are booted before a worker says that none can: one may have been killed, by the kernel for instance.
_BOOT_TRIES = 3


class Worker:
    """A worker that is started once and stopped once.

    :param on_failure: called when one of its threads dies; it must not go on then.
    :param on_drain: called when somebody has asked the worker to stop; see :class:`Registry`.
    :param runners: makes the processes that execute runs; ``None`` = of its own.
    :param start_runner: starts what executes runs; ``None`` = processes.
    """

    def __init__(
        self,
        config: Config,
        options: WorkerOptions,
        *,
        on_failure: Callable[[Service], None],
        on_drain: Callable[[], None],
        runners: Runners | None = None,
        start_runner: Callable[[], RunnerLink] | None = None,
    ) -> None:
        self._config = config
        self._options = options
        self._on_failure = on_failure
        self._on_drain = on_drain
        self._start_runner = start_runner or self._start_child
        self._bus: Bus | None = None
        self._must_stop = threading.Event()
        self._slots: list[Slot] = []
        self._has_started = False
        self._is_draining = False
        self._identity = {"worker_id": options.worker_id, "instance_id": uuid.uuid4().hex}
        self._sentinel = Sentinel(config, is_silent=options.is_embedded, on_failure=on_failure, **self._identity)
        self._runners = runners or Runners(options.resolver, config)
        #: The one that :meth:`check` has booted.
        self._first_child: Child | None = None

    def check(self) -> None:
        """Boot the first runner, to know that runs can be executed before the first job is fetched.

        Not with wheel sync: the resolver may stand in a wheel. The calling thread must live as long as the worker,
        because the kernel ends what runners are forked from with the thread that made it.

        :raises InvalidCommand: it cannot boot; says why.
        """
        if not self._config.wheel_sync_enabled:
            self._first_child = _booted(self._new_child)

    def connect(self, timeout_sec: float) -> None:
        """Connect and create what is missing.

        :raises BusUnavailable: no answer in time; may be called again.
        :raises OSError: there is no place for the files of runs.
        """
        bus = Bus.of(
            self._config,
            names.WORKER_ROLE,
            name=f"pyoco-worker-{self._options.worker_id}",
            budget_sec=WORKER_BUDGET_SEC,
            waits_when_down=True,
        )
        bus.connect(timeout_sec)
        try:
            ensure_resources(bus, self._config, only=streams_of(self._config, names.WORKER_ROLE))
            queue = Queue(bus, self._config)
            for tag in self._options.tags:
                queue.ensure(tag)
            self._scratch = Scratch()
        except BaseException:
            bus.close(Deadline(2))
            raise
        self._bus = bus

    def start(self) -> None:
        """Start to serve; :meth:`connect` has succeeded before."""
        config, options, bus = self._config, self._options, self._bus
        assert bus is not None, "connect() comes first"
        runs, workers = RunStore(bus, config), WorkerStore(bus, config)
        self._registry = Registry(
            bus,
            workers,
            config,
            tags=options.tags,
            concurrency=options.concurrency,
            on_failure=self._on_failure,
            on_drain=self._on_drain,
            **self._identity,
        )
        self._wheels = WheelSync(
            WheelStore(bus, config),
            config,
            options.tags,
            report=self._registry.wheels_synced,
            changed=self._wake_slots,
            on_failure=self._on_failure,
        )
        self._nursery = Nursery(self._start_runner, self._on_failure)
        self._output = OutputSender(LogStore(bus), config, self._on_failure)
        work_queue = Queue(bus, config)
        claims = Claims(
            runs,
            Holders(
                runs,
                workers,
                disconnect_timeout_sec=config.worker_disconnect_timeout_sec,
                cancel_grace_sec=config.cancel_grace_period_sec,
            ),
            is_active=self._registry.is_active,
            **self._identity,
        )
        self._consumer = Consumer(
            bus,
            work_queue,
            functools.partial(Lease, work_queue, claims, self._sentinel),
            options.tags,
            options.poll_timeout_sec,
            on_failure=self._on_failure,
            serves=not options.once,
        )
        tools = Tools(
            config,
            runs,
            ArtifactStore(bus),
            RunHints(bus, config),
            claims,
            Finish(work_queue.deliveries, runs, DeadLetterStore(bus, config), worker_id=options.worker_id),
            self._nursery,
            self._registry,
            self._output,
            self._must_stop,
            self._scratch,
            self._wheels,
            options.max_runs_per_child,
        )
        self._slots = [
            Slot(
                f"pyoco-slot-{number}",
                tools,
                is_free=self._consumer.slot_is_free,
                has_settled=self._consumer.job_has_settled,
                on_failure=self._on_failure,
            )
            for number in range(1, options.concurrency + 1)
        ]
        # Before the first claim, so that a former life of this worker id counts as superseded.
        with contextlib.suppress(BusError, BusUnavailable):
            self._registry.write()
        work_queue.deliveries.start_ticks(config.ack_progress_interval_sec)
        for service in (self._sentinel, self._registry, self._nursery, self._output, *self._slots, self._consumer):
            service.start()
        if config.wheel_sync_enabled:
            self._wheels.start()
        self._has_started = True
        logger.info("the worker serves %s", ", ".join(options.tags))

    def condition(self) -> Condition:
        """Give how it is doing, from any thread, also before it has begun."""
        bus, has_begun = self._bus, self._has_started
        return Condition(
            is_serving=has_begun,
            is_draining=self._is_draining,
            is_connected=bus is not None and bus.is_connected,
            last_error=None if bus is None else bus.last_error,
            slot_count=self._options.concurrency,
            busy_count=self._registry.running_count if has_begun else 0,
            ended_counts=self._registry.ended_counts if has_begun else {},
        )

    def state(self) -> tuple[bool, str]:
        """Give whether it serves, and a few words on what it does."""
        found = self.condition()
        if not found.is_serving:
            return False, "waits for NATS"
        words = f"serves {', '.join(self._options.tags)}: {found.busy_count} of {found.slot_count} slots are busy"
        return True, words if found.is_connected else f"{words}; NATS is away: {found.last_error}"

    def stuck(self) -> list[str]:
        """Give the names of the threads that do not come round any more."""
        if not self._has_started or self._bus is None:
            return []
        return [service.name for service in (self._bus.thread, self._registry, self._consumer) if service.is_stuck]

    def _wake_slots(self) -> None:
        for slot in self._slots:
            slot.wake()

    def stop(self, drain_sec: float) -> None:
        """Take no new work, let runs go on for ``drain_sec``, hand the rest back, say so, disconnect."""
        assert self._bus is not None
        drain = Deadline(drain_sec)
        self._is_draining = True
        self._consumer.request_stop()
        logger.info("the worker takes no more runs")
        self._wheels.request_stop()
        for slot in self._slots:
            slot.request_stop()
        # No run begins any more: whoever waits for a runner need not wait until one has booted.
        self._runners.close()
        for slot in self._slots:
            slot.stop(drain)
        self._must_stop.set()
        self._bus.stop_waiting()
        end = Deadline(_HAND_BACK_SEC)
        for service in (*self._slots, self._output, self._consumer, self._wheels, self._registry):
            service.stop(end)
        with contextlib.suppress(PyocoServerError):
            self._registry.write_stopped()
        self._nursery.stop(end)
        self._sentinel.stop(end)
        self._bus.close(end)
        self._scratch.remove()

    def take_one(self, wanted: OneRun) -> None:
        """Fetch and execute one run, of a worker that takes none of its own accord."""
        self._consumer.take_one(wanted)

    def withdraw(self, wanted: OneRun) -> None:
        """Fetch none any more; a run that has been fetched goes on."""
        self._consumer.withdraw(wanted)

    def take_no_more(self) -> None:
        """Fetch no more jobs; a run that has been fetched goes on. :meth:`stop` is still to come."""
        self._consumer.request_stop()

    def hurry(self) -> None:
        """Let no run go on any longer: the second request to stop means now."""
        self._must_stop.set()

    def _start_child(self) -> Child:
        child, self._first_child = self._first_child, None
        if child is None:
            child = self._new_child(self._wheels.refresh())
        self._sentinel.watch_group(child.group)
        return child

    def _new_child(self, wheels: WheelSet = NO_WHEELS) -> Child:
        return self._runners.start(wheels, self._sentinel.forget_group)


def check_resolver(resolver: str | None, config: Config) -> None:
    """Boot a runner and end it; see :meth:`Worker.check`.

    :raises InvalidCommand: it cannot boot; says why.
    """
    if not config.wheel_sync_enabled:
        with contextlib.closing(Runners(resolver, config)) as runners:
            _booted(runners.start).kill()


def _booted(start: Callable[[], Child]) -> Child:
    """Start a runner and wait until it has booted.

    :raises InvalidCommand: it cannot boot; says why.
    """
    try:
        for _ in range(_BOOT_TRIES - 1):
            with contextlib.suppress(ChildDied):
                return _boot(start)
        return _boot(start)
    except ChildBootFailed as exc:
        raise InvalidCommand(str(exc)) from exc


def _boot(start: Callable[[], Child]) -> Child:
    child = start()
    try:
        child.wait_ready(Deadline(60))
    except BaseException:
        child.kill()
        raise
    return child
