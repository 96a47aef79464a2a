"""A run's end as the end of a command: ``--wait`` of what submits, ``--exit-status`` of ``watch``.

Source: issue 3, "Commands".
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pyoco_server.cli import arguments
from pyoco_server.cli.exits import CommandParser
from pyoco_server.cli.subcommands import print_json
from pyoco_server.errors import RunNotCompleted

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

#: What a snapshot is printed without: the records of its tasks, and what is known of its worker by now.
_LEFT_OUT = frozenset(
    {"task_records", "worker_alive", "worker_state", "worker_heartbeat_at", "worker_hidden", "worker_tags"}
)

WAIT_NOTE = """\
With --wait the snapshot of the run is printed when it has ended, and the exit status is 0 if it is COMPLETED, else 1.
If --wait-sec is over first it is printed as it is, and the status is 1. A terminal that is stderr shows its progress.
Ctrl-C ends the command and not the run: what was answered, with its run_id, is printed."""


def add_wait(parser: CommandParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--wait",
        action="store_true",
        help="wait until the run has ended, then print its snapshot; the exit status is 0 if it is COMPLETED, else 1",
    )
    parser.add_argument(
        "--wait-sec",
        type=arguments.seconds,
        metavar="SEC",
        help="how long --wait waits at most; the run goes on all the same (default: no limit)",
    )


def check_wait(args: argparse.Namespace) -> None:
    """Refuse a time to wait where nothing is waited for; to be called before anything is submitted."""
    if args.wait_sec is not None and not args.wait:
        args.fail("--wait-sec says how long --wait waits: give --wait, too")


def print_run(answer: dict[str, Any], args: argparse.Namespace, client: PyocoHttpClient) -> None:
    """Print the answer to a submission, or with ``--wait`` the run at its end.

    :raises RunNotCompleted: it did not end as COMPLETED, or not in time; it was printed.
    """
    if not args.wait:
        print_json(answer)
        return
    from pyoco_server.cli.progress import is_live

    try:
        run = run_at_end(client, answer["run_id"], args.wait_sec, shows=is_live(sys.stderr))
    except BaseException:
        # The run goes on, and its id must not be lost.
        print_json(answer)
        raise
    print_json(run)
    check_completed(run)


def run_at_end(client: PyocoHttpClient, run_id: str, wait_sec: float | None, *, shows: bool = False) -> dict[str, Any]:
    """Wait for the end of a run.

    :param wait_sec: seconds to wait at most; no limit when ``None``.
    :param shows: draw on stderr, a terminal, how it goes on.
    :return: the snapshot without task records; not a terminal one if the time was over first.
    """
    run: dict[str, Any] | None = None
    watch = client.watch_run(run_id, include_records=shows, timeout_sec=wait_sec, until_terminal=True, is_known=True)
    with closing(watch) as events:
        if shows:
            from pyoco_server.cli.progress import show_events

            run = show_events(events, stream=sys.stderr, live=True)
        else:
            for event in events:
                run = event["data"].get("snapshot") or run
    if run is None:
        run = client.get_run(run_id)
    return {name: value for name, value in run.items() if name not in _LEFT_OUT}


def check_completed(run: dict[str, Any]) -> None:
    """Make the state of a run the end of the command.

    :raises RunNotCompleted: it is another than COMPLETED.
    """
    from pyoco_server.cli.tables import printable
    from pyoco_server.states import TERMINAL, RunStatus

    if run["status"] == RunStatus.COMPLETED:
        return
    if run["status"] not in TERMINAL:
        raise RunNotCompleted(f"Run {run['run_id']} has not ended; it is {run['status']}.")
    why = f": {printable(str(run['error']))}" if run.get("error") else "."
    raise RunNotCompleted(f"Run {run['run_id']} ended as {run['status']}{why}")
