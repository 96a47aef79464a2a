"""A worker as a part of somebody's program, which executes a run when it is asked to.

Source: contract, section 5, "Python API".
"""

from __future__ import annotations

import functools
import os
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from pyoco_server.config import Config
from pyoco_server.contract import names
from pyoco_server.errors import InvalidInput, InvalidSetting, ThreadDied, WorkerClosed
from pyoco_server.library.connection import CONNECT_SEC
from pyoco_server.library.local_runner import LocalRunner
from pyoco_server.runner.allowed import Allowed
from pyoco_server.service import Service
from pyoco_server.worker.options import WorkerOptions
from pyoco_server.worker.supervisor import Worker, check_resolver
from pyoco_server.worker.work import OneRun


class PyocoNatsWorker:
    """A worker that executes one run at a time, when it is asked to.

    **Where runs are executed.** A resolver that is a callable is called, and all runs are executed, in this very
    process: closures work, what tasks print goes to this process's stdout, the working directory stays as it is. Such a
    task is a thread of this program that nothing can stop: a run that is over its time, or ignores its cancel, ends as
    ever, and what it still does goes on. A resolver that is a text (``module:function`` or ``file.py:function``), or
    none, has runs executed in child processes, as ``pyoco-worker`` does it, with all limits.

    **What it owns.** From :meth:`connect` to :meth:`close`: some threads, a connection, the record in the registry
    (IDLE between two calls of :meth:`run_once`) and a child process, the sentinel, which hands the run in hand to
    another worker when this program is killed, or ends without :meth:`close`; where runs have processes of their own,
    one more that these are forked from. It neither installs signal handlers nor configures logging, and never writes
    to stdout or stderr itself. Connect after a fork, not before it.

    While a run goes on in this process, pyoco has streams that pass on what is printed in place of ``sys.stdout`` and
    ``sys.stderr``. Use the worker as a context manager, or call :meth:`close`, which any thread may do.
    """

    def __init__(self, config: Config, options: WorkerOptions, start_runner: Callable[[], LocalRunner] | None) -> None:
        self._config = config
        self._worker = Worker(config, options, on_failure=self._fail, on_drain=self._drain, start_runner=start_runner)
        self._one_at_a_time = threading.Lock()
        self._closing = threading.Lock()
        self._is_closed = False
        self._is_draining = False
        self._failed: Service | None = None
        #: Set when there is no more to wait for in :meth:`run_once`.
        self._wake = threading.Event()

    @classmethod
    def connect(
        cls,
        *,
        config: Config | None = None,
        flow_resolver: Callable[[str], Any] | str | None = None,
        worker_id: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> PyocoNatsWorker:
        """Connect, and create what is missing in NATS.

        :param config: the settings; read from the environment when ``None``.
        :param flow_resolver: gives the pyoco ``Flow`` of a name, and raises ``KeyError`` for one that it does not know:
            a callable, or the text that names one. Without it only runs with a flow.yaml can be executed.
        :param worker_id: name in the registry; made of host and process when ``None``. Of two workers with one name the
            older counts as gone, and its run is begun again.
        :param tags: routing tags, any of them; ``PYOCO_DEFAULT_TAG`` when ``None``.
        :raises InvalidInput: a tag or worker id that is none.
        :raises InvalidCommand: a resolver given as text cannot be imported or called.
        :raises InvalidSetting: a setting does not parse, contradicts another one, or asks for what a callable cannot
            have: wheels, or a limit of memory.
        :raises BusUnavailable: NATS does not answer.
        :raises BusError: NATS refuses, as without JetStream.
        :raises OSError: there is no place for files, or no process can be started.
        """
        config = config or Config.from_env()
        config.check_worker()
        options = _options(config, flow_resolver, worker_id, tags)
        start_runner = None
        if callable(flow_resolver):
            _check_local(config)
            start_runner = functools.partial(LocalRunner, flow_resolver, Allowed(config.allowed_patterns))
        else:
            check_resolver(options.resolver, config)
        worker = cls(config, options, start_runner)
        worker._worker.connect(CONNECT_SEC)
        try:
            worker._worker.start()
        except BaseException:
            worker._worker.stop(0)
            raise
        return worker

    def __enter__(self) -> PyocoNatsWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run_once(self, timeout: float = 1.0) -> str | None:
        """Wait for one run and execute it to its end, however it ends. Calls from several threads take turns.

        An exception that ends the wait from outside (``KeyboardInterrupt``) leaves a run that has begun to itself:
        :meth:`close` waits for it.

        :param timeout: seconds to wait for a run, 0 or more; what has begun takes as long as it needs.
        :return: the id of the run that was executed; ``None`` when there was none, or the worker is to take no more.
        :raises BusUnavailable: NATS does not answer. The connection mends itself, so call again; an outage of less than
            15 seconds is waited for here, even beyond ``timeout``.
        :raises WorkerClosed: after :meth:`close`, or when somebody has asked the worker to drain: close it then.
        :raises ThreadDied: this worker is broken: close it and connect another one.
        """
        with self._one_at_a_time:
            # Before the look at what sets it, so that nothing can come in between unseen.
            self._wake = wake = threading.Event()
            self._check_failure()
            if self._is_closed:
                raise WorkerClosed
            if self._is_draining:
                raise WorkerClosed("Somebody has asked the worker to drain: it takes no more runs. Close it.")
            wanted = OneRun(timeout, wake.set)
            self._worker.take_one(wanted)
            try:
                wake.wait()
            finally:
                self._worker.withdraw(wanted)
        if wanted.run_id is None:
            self._check_failure()
            if wanted.trouble is not None:
                raise wanted.trouble
        return wanted.run_id

    def close(self) -> None:
        """Take no more runs, and let the present one go on for ``PYOCO_DRAIN_SEC``; works twice.

        A run that has not ended by then is handed back: another worker begins it. The registry then says
        ``STOPPED_GRACEFUL``, and the threads, the connection and the child processes are gone.
        """
        with self._closing:
            if not self._is_closed:
                self._worker.stop(self._config.drain_sec)
                self._is_closed = True

    def _check_failure(self) -> None:
        if self._failed is not None:
            raise ThreadDied(self._failed.name) from self._failed.failure

    def _drain(self) -> None:
        """End the wait for another run, on whose thread ever; the present one goes on."""
        self._is_draining = True
        self._worker.take_no_more()

    def _fail(self, service: Service) -> None:
        """Note that a thread has died, on that thread."""
        self._failed = service
        self._wake.set()


def _options(
    config: Config, resolver: Callable[[str], Any] | str | None, worker_id: str | None, tags: Sequence[str] | None
) -> WorkerOptions:
    worker_id = worker_id or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:4]}"
    if not names.is_key(worker_id):
        raise InvalidInput(f"{worker_id!r} is not a worker id: letters, digits and _ = / . -, 256 at most.")
    served = list(dict.fromkeys([config.default_tag] if tags is None else tags))
    # A text is a sequence of texts, too: its letters.
    if isinstance(tags, str) or not served or not all(names.is_tag(tag) for tag in served):
        raise InvalidInput(f"{tags!r} is not a list of tags: each has letters, digits, '_' and '-', 128 at most.")
    spec = resolver if isinstance(resolver, str) else None
    return WorkerOptions(worker_id, served, spec, once=True, is_embedded=True)


def _check_local(config: Config) -> None:
    """Refuse settings that cannot hold for runs in this process, rather than not heed them."""
    if config.wheel_sync_enabled:
        raise InvalidSetting(
            "PYOCO_WHEEL_SYNC_ENABLED: a program that runs cannot be given other wheels. Give flow_resolver as text, "
            "so that runs have processes of their own."
        )
    if config.run_memory_bytes:
        raise InvalidSetting(
            "PYOCO_RUN_MEMORY_BYTES: the memory of runs cannot be told from that of the program around them. Give "
            "flow_resolver as text, so that runs have processes of their own."
        )
