"""``pyoco-server up``: the gateway, with a NATS server and a worker beside it where they are asked for."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc

from pyoco_server.cli.exits import EXIT_DONE
from pyoco_server.cli.signals import StopSignals
from pyoco_server.cli.stack import Stack
from pyoco_server.config import Config, read_environment
from pyoco_server.errors import InvalidCommand
from pyoco_server.logs import configure_logging
from pyoco_server.service import Deadline
from pyoco_server.service_manager import NotifySocket, Reporter

#: New objects that may come together before it is looked for cycles among them; Python's own number is 700.
_GC_THRESHOLD = 10_000
#: systemd may be slow to take the last report.
_REPORT_SEC = 2.0


def run_up(args: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    notify = NotifySocket.from_env()
    environ = read_environment()
    config = Config.from_env(
        environ, nats_url=args.nats_url, log_level=args.log_level, dashboard_lang=args.dashboard_lang
    )
    worker_command = _worker_command(args, config)
    configure_logging("pyoco-server:http", config)
    signals = StopSignals()
    is_nats_named = args.nats_url is not None or "PYOCO_NATS_URL" in environ
    stack = Stack(args, config, signals, is_nats_named=is_nats_named, worker_command=worker_command)
    reporter = Reporter(notify, stack, signals.service_failed)
    reporter.start()
    try:
        with signals.interrupting():
            stack.start()
        _settle_memory()
        signals.wait()
    except KeyboardInterrupt:
        # Told to stop while it started: that is no failure either.
        pass
    reporter.stopping("lets answers that have begun end")
    stack.stop()
    reporter.stop(Deadline(_REPORT_SEC))
    signals.raise_failure()
    return EXIT_DONE


def _settle_memory() -> None:
    """Give back what the start alone has used, and have Python look for cycles among fewer objects and less often.

    What is there by now stays for good, and requests leave hardly any: by default the looking takes a tenth of the time
    of a busy gateway. And the C library keeps what is freed, some megabytes; others than glibc have no such call.
    """
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)


def _worker_command(args: argparse.Namespace, config: Config) -> list[str] | None:
    """Give the worker's flags, which are known to be good: a worker that cannot start would be started again.

    :raises InvalidCommand: they are not, or there is no worker for them.
    """
    given = {
        "--worker-id": args.worker_id,
        "--worker-tags": args.worker_tags,
        "--worker-flow-resolver": args.worker_flow_resolver,
        "--worker-poll-timeout": args.worker_poll_timeout,
    }
    flags = [flag for flag, value in given.items() if value is not None]
    if not args.with_worker:
        if flags:
            raise InvalidCommand(f"{flags[0]} is for a worker beside the gateway: give --with-worker, too.")
        return None
    config.check_worker()
    words: list[str] = []
    if args.worker_flow_resolver is not None:
        from pyoco_server.worker.supervisor import check_resolver

        check_resolver(args.worker_flow_resolver, config)
        words += ["--flow-resolver", args.worker_flow_resolver]
    if args.worker_id is not None:
        words += ["--worker-id", args.worker_id]
    if args.worker_tags is not None:
        words += ["--tags", ",".join(args.worker_tags)]
    if args.worker_poll_timeout is not None:
        words += ["--poll-timeout", str(args.worker_poll_timeout)]
    if args.log_level is not None:
        words += ["--log-level", args.log_level]
    return words
