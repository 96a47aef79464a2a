"""``pyoco-client workers``, ``worker-drain`` and ``metrics``: what executes runs, and how it goes.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyoco_server.cli.client_command import PROG, add_command
from pyoco_server.cli.exits import CommandParser
from pyoco_server.cli.subcommands import print_json

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

_EPILOG = f"""\
It prints an array of workers. --output table has the columns worker_id, state, tags, plugins (how many wheels a worker
has installed) and plugin_preview; --output plugins has a line for each of these wheels, with worker_id, state, tags,
package, version and wheel_name. A worker that is silent is DISCONNECTED; it and those that were stopped are shown with
--scope all.

examples:
  {PROG} workers
  {PROG} workers --scope all --include-hidden --output table
  {PROG} workers --output plugins | grep my-package
"""

_DRAIN_EPILOG = f"""\
It prints {{worker_id, drain_requested_at}}. The worker does what it does at SIGTERM, wherever it runs: it lets the
runs that it has end within its --drain-sec, hands back the rest, and exits. Asked again, it goes on with that.

examples:
  {PROG} worker-drain --worker-id gpu-1
  {PROG} workers --scope all | jq -r '.[] | select(.worker_id == "gpu-1").state'
"""

_METRICS_EPILOG = f"""\
It prints the text that Prometheus reads.

examples:
  {PROG} metrics
  {PROG} metrics | grep pyoco_queue_depth
"""

_STATES = ("RUNNING", "IDLE", "STOPPED_GRACEFUL", "DISCONNECTED")
_COLUMNS = ("worker_id", "state", "tags", "plugins", "plugin_preview")
_PLUGIN_COLUMNS = ("worker_id", "state", "tags", "package", "version", "wheel_name")
#: How many plug-ins a preview names.
_PREVIEWED = 3


def add_workers(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "workers", _workers, "list workers, the one that was seen last first", _EPILOG)
    parser.add_argument(
        "--scope", choices=("active", "all"), help="active: those that live; all: also those that are gone"
    )
    parser.add_argument("--state", choices=_STATES, help="only workers in this state")
    parser.add_argument("--include-hidden", action="store_true", help="also workers that somebody has hidden")
    parser.add_argument("--limit", type=int, metavar="N", help="how many at most, 1 to 500 (default: 100)")
    parser.add_argument("--output", choices=("json", "table", "plugins"), default="json", help="default: json")


def add_worker_drain(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the subcommand."""
    help = "have a worker take no more runs, and stop"
    parser = add_command(commands, "worker-drain", _drain, help, _DRAIN_EPILOG)
    parser.add_argument("--worker-id", required=True, metavar="ID", help="the worker")


def add_metrics(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the subcommand."""
    help = "print the metrics of the installation, as Prometheus reads them"
    add_command(commands, "metrics", _metrics, help, _METRICS_EPILOG)


def _metrics(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    print(client.get_metrics(), end="", flush=True)


def _drain(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    print_json(client.drain_worker(args.worker_id))


def _workers(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    workers = client.get_workers(
        scope=args.scope, state=args.state, include_hidden=args.include_hidden, limit=args.limit
    )
    if args.output == "json":
        print_json(workers)
        return
    from pyoco_server.cli.tables import print_table

    whole = ("worker_id", "state")
    if args.output == "table":
        print_table([_line(worker) for worker in workers], _COLUMNS, sys.stdout, whole=whole)
    else:
        print_table(
            [line for worker in workers for line in _plugin_lines(worker)], _PLUGIN_COLUMNS, sys.stdout, whole=whole
        )


def _installed(worker: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    # A worker that was never asked to sync wheels may have no such field.
    return (worker.get("wheel_sync") or {}).get("installed_wheels") or []


def _line(worker: Mapping[str, Any]) -> dict[str, Any]:
    names = [_name(wheel) for wheel in _installed(worker)]
    preview = names[:_PREVIEWED] + ([f"+{len(names) - _PREVIEWED}"] if len(names) > _PREVIEWED else [])
    return {**worker, "plugins": len(names), "plugin_preview": ", ".join(preview) or None}


def _name(wheel: Mapping[str, Any]) -> str:
    package, version = wheel.get("package_name"), wheel.get("package_version")
    return f"{package}@{version}" if package and version else str(wheel.get("wheel_name") or package)


def _plugin_lines(worker: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a line for each plug-in, and one with dashes for a worker that has none."""
    for wheel in _installed(worker) or [{}]:
        yield {
            **worker,
            "package": wheel.get("package_name"),
            "version": wheel.get("package_version"),
            "wheel_name": wheel.get("wheel_name"),
        }
