"""``pyoco-worker``: fetches runs of its tags and executes them.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyoco_server.cli import arguments
from pyoco_server.cli.completion import PrintCompletion
from pyoco_server.cli.epilogs import ENV_FILE_HELP, environment, listed
from pyoco_server.cli.exits import EXIT_DONE, CommandParser, ShowVersion, command
from pyoco_server.errors import BusUnavailable, SignInRefused

if TYPE_CHECKING:
    from pyoco_server.cli.signals import StopSignals
    from pyoco_server.config import Config
    from pyoco_server.worker.options import WorkerOptions
    from pyoco_server.worker.supervisor import Worker

logger = logging.getLogger(__name__)

#: How long ``--run-once`` waits for NATS: ten seconds with the start and the end of the process.
_RUN_ONCE_CONNECT_SEC = 4.0
_CONNECT_SEC = 5.0
_CONNECT_PAUSE_SEC = 1.0
#: systemd may be slow to take the last report.
_REPORT_SEC = 2.0

_EPILOG = """\
A run goes to any worker that serves its tag. Where NATS is not there yet, the worker waits. Logs are JSON lines on
stdout. SIGINT and SIGTERM stop it: it takes no new runs, lets those that go on end within --drain-sec, and hands the
rest back to the queue. A second signal means now.

examples:
  pyoco-worker --nats-url nats://127.0.0.1:4222 --tags hello --worker-id w1
  pyoco-worker --tags cpu,gpu --flow-resolver examples/hello_flow.py:resolve_flow
  pyoco-worker --tags nightly --concurrency 4
  pyoco-worker --tags hello --allow 'mypkg.*' --allow othermod
  pyoco-worker --tags hello --run-once
  pyoco-worker --print-completion bash >~/.local/share/bash-completion/completions/pyoco-worker

"""
_EXIT_STATUS = {
    "0": "it was stopped by a signal or drained; with --run-once: one run was executed, or there was none",
    "1": "it could not start, or a part of it has failed, or with --run-once no NATS server answers in ten seconds; "
    "stderr says why",
}
_VARIABLES = (
    "PYOCO_NATS_URL",
    "PYOCO_DEFAULT_TAG",
    "PYOCO_WORKER_ALLOW",
    "PYOCO_DRAIN_SEC",
    "PYOCO_RUN_TIMEOUT_SEC",
    "PYOCO_RUN_MEMORY_BYTES",
    "PYOCO_CANCEL_GRACE_PERIOD_SEC",
    "PYOCO_HEALTH_LISTEN",
    "PYOCO_WHEEL_SYNC_ENABLED",
    "PYOCO_WHEEL_SYNC_DIR",
    "PYOCO_WHEEL_SYNC_INTERVAL_SEC",
    "PYOCO_WHEEL_INSTALL_TIMEOUT_SEC",
    "PYOCO_LOG_LEVEL",
    "PYOCO_LOG_FORMAT",
)
_FILES = {".env": ENV_FILE_HELP, ".pyoco/wheels": "the wheels that were fetched, where --wheel-sync-dir names no other"}


def get_parser() -> CommandParser:
    """Make the parser of ``pyoco-worker``."""
    parser = CommandParser(
        prog="pyoco-worker",
        description="Fetch runs from the queue and execute them.",
        epilog="\n".join(
            (_EPILOG + listed("exit status", _EXIT_STATUS), environment(*_VARIABLES), listed("files", _FILES))
        ),
        example="pyoco-worker --tags hello --worker-id w1",
    )
    parser.add_argument("--nats-url", metavar="URL", help="NATS servers, separated by commas (env PYOCO_NATS_URL)")
    parser.add_argument(
        "--tags", type=arguments.tags, metavar="A,B", help="tags to serve, any of them (default: PYOCO_DEFAULT_TAG)"
    )
    parser.add_argument(
        "--worker-id",
        type=arguments.worker_id,
        metavar="ID",
        help="name in the worker registry (default: host and process id)",
    )
    parser.add_argument(
        "--flow-resolver", metavar="SPEC", help="module:function or file.py:function that gives a flow by its name"
    )
    parser.add_argument(
        "--allow",
        action="append",
        metavar="PATTERN",
        help="execute only callables and plug-ins of this module (mypkg.tasks), package (mypkg.*) or name "
        "(mypkg.tasks:load); may be repeated (env PYOCO_WORKER_ALLOW, with commas)",
    )
    parser.add_argument(
        "--concurrency", type=arguments.count, default=1, metavar="N", help="runs at the same time (default 1)"
    )
    parser.add_argument(
        "--max-runs-per-child",
        type=arguments.count,
        default=100,
        metavar="N",
        help="runs that one process executes before a fresh one takes over (default 100)",
    )
    parser.add_argument(
        "--wheel-sync",
        action=argparse.BooleanOptionalAction,
        help="import tasks from the wheels that the wheel registry has for it (env PYOCO_WHEEL_SYNC_ENABLED)",
    )
    parser.add_argument("--wheel-sync-dir", metavar="DIR", help="where they are kept (env PYOCO_WHEEL_SYNC_DIR)")
    parser.add_argument(
        "--wheel-sync-interval-sec",
        metavar="SEC",
        help="how often to look while idle (env PYOCO_WHEEL_SYNC_INTERVAL_SEC)",
    )
    parser.add_argument(
        "--wheel-install-timeout-sec",
        metavar="SEC",
        help="how long one wheel may take (env PYOCO_WHEEL_INSTALL_TIMEOUT_SEC)",
    )
    parser.add_argument(
        "--poll-timeout",
        type=arguments.seconds,
        default=1.0,
        metavar="SEC",
        help="how long to wait for a job at a time (default 1)",
    )
    parser.add_argument("--drain-sec", metavar="SEC", help="how long runs may go on after a stop (env PYOCO_DRAIN_SEC)")
    parser.add_argument(
        "--health-listen",
        metavar="HOST:PORT",
        help="where to answer /health, /ready and /metrics (env PYOCO_HEALTH_LISTEN, default: nowhere)",
    )
    parser.add_argument("--run-once", action="store_true", help="take one job if there is one, then exit")
    parser.add_argument("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARNING … (env PYOCO_LOG_LEVEL)")
    parser.add_argument("--version", action=ShowVersion)
    parser.add_argument("--print-completion", action=PrintCompletion)
    return parser


@command("pyoco-worker")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = get_parser()
    args = parser.parse_args(argv)

    from pyoco_server.config import Config
    from pyoco_server.logs import configure_logging

    with parser.explaining():
        config = Config.from_env(
            nats_url=args.nats_url,
            worker_allow=args.allow and ",".join(args.allow),
            drain_sec=args.drain_sec,
            log_level=args.log_level,
            wheel_sync_enabled=args.wheel_sync,
            wheel_sync_dir=args.wheel_sync_dir,
            wheel_sync_interval_sec=args.wheel_sync_interval_sec,
            wheel_install_timeout_sec=args.wheel_install_timeout_sec,
            health_listen=args.health_listen,
        )
        config.check_worker()
        options = _options(parser, args, config)
        configure_logging("pyoco-server:worker", config, worker_id=options.worker_id)
        return _serve(config, options)


def _options(parser: argparse.ArgumentParser, args: argparse.Namespace, config: Config) -> WorkerOptions:
    from pyoco_server.worker.options import WorkerOptions

    try:
        worker_id = args.worker_id or arguments.worker_id(f"{socket.gethostname()}-{os.getpid()}")
    except argparse.ArgumentTypeError as exc:
        parser.error(f"the host's name makes no worker id, so give --worker-id: {exc}")
    return WorkerOptions(
        worker_id=worker_id,
        tags=args.tags or [config.default_tag],
        resolver=args.flow_resolver,
        concurrency=args.concurrency,
        poll_timeout_sec=args.poll_timeout,
        max_runs_per_child=args.max_runs_per_child,
        once=args.run_once,
    )


def _serve(config: Config, options: WorkerOptions) -> int:
    from pyoco_server.cli.signals import StopSignals
    from pyoco_server.service_manager import NotifySocket, Reporter
    from pyoco_server.worker.runners import Runners

    # Before the first process is started.
    notify = NotifySocket.from_env()
    signals = StopSignals()
    runners = Runners(options.resolver, config)
    if not config.wheel_sync_enabled:
        # It boots while this process imports the rest, which takes as long.
        runners.prepare()

    from pyoco_server.service import Deadline, Service
    from pyoco_server.worker.health import HealthServer
    from pyoco_server.worker.supervisor import Worker
    from pyoco_server.worker.work import OneRun

    worker = Worker(config, options, on_failure=signals.service_failed, on_drain=signals.drain, runners=runners)
    reporter = Reporter(notify, worker, signals.service_failed)
    tellers: list[Service] = [reporter]
    if config.health_listen:
        tellers.append(HealthServer(config.health_listen, worker, signals.service_failed))
    try:
        with signals.interrupting():
            worker.check()
            for teller in tellers:
                teller.start()
            _connect(worker, options, signals)
    except KeyboardInterrupt:
        return EXIT_DONE
    worker.start()
    wanted = OneRun(options.poll_timeout_sec, signals.stopping.set)
    if options.once:
        worker.take_one(wanted)
    signals.on_second = worker.hurry
    signals.wait()
    if signals.was_asked:
        logger.info("the worker stops; runs may go on for %g s", config.drain_sec)
    reporter.stopping(f"takes no more runs; those that go on may do so for {config.drain_sec:g} s")
    worker.stop(config.drain_sec)
    end = Deadline(_REPORT_SEC)
    for teller in tellers:
        teller.stop(end)
    signals.raise_failure()
    if wanted.trouble is not None:
        raise wanted.trouble
    return EXIT_DONE


def _connect(worker: Worker, options: WorkerOptions, signals: StopSignals) -> None:
    """Wait for NATS, with --run-once for a while only."""
    if options.once:
        worker.connect(_RUN_ONCE_CONNECT_SEC)
        return
    while True:
        try:
            worker.connect(_CONNECT_SEC)
            return
        except SignInRefused:
            # Waiting would not mend it.
            raise
        except BusUnavailable as exc:
            logger.warning("waiting for NATS: %s", exc)
        signals.stopping.wait(_CONNECT_PAUSE_SEC)


if __name__ == "__main__":
    raise SystemExit(main())
