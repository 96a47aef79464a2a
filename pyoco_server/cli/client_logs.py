"""``pyoco-client logs``: what a run has printed, or prints.

Source: issue 7, "Logs".
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pyoco_server.cli import arguments
from pyoco_server.cli.client_command import PROG, add_command, at_least
from pyoco_server.cli.client_wait import check_completed
from pyoco_server.cli.exits import CommandParser
from pyoco_server.cli.subcommands import print_json

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

_EPILOG = f"""\
It prints lines: the time in UTC, the task, stdout or stderr, and what was printed; a dash stands where none is known.
What would drive the terminal is written as \\x1b. --output json prints {{run_status, logs, is_cut}}, the answer of
GET /runs/{{run_id}}/logs, or with --follow {{event, data}} for each entry, one a line, and for the end of the run.

The exit status is 0 however the run has ended; with --exit-status it is 1 if that is not COMPLETED or the run goes on,
and stderr says which.

examples:
  {PROG} logs RUN_ID
  {PROG} logs RUN_ID --follow
  {PROG} logs RUN_ID --task extract --tail 100
  {PROG} logs RUN_ID --output json | jq -r '.logs[] | select(.stream == "stderr").text'
"""


def add_logs(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "logs", _logs, "print what a run has printed", _EPILOG)
    parser.add_argument("run_id", metavar="RUN_ID", help="the run")
    parser.add_argument("--task", metavar="NAME", help="only what this task has printed")
    parser.add_argument(
        "--tail", type=at_least(1), metavar="N", help="only the last N entries, which are lines (default: all)"
    )
    parser.add_argument("--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument(
        "--timeout-sec",
        type=arguments.seconds,
        metavar="SEC",
        help="how long --follow goes on at most (default: no limit)",
    )
    parser.add_argument(
        "--exit-status", action="store_true", help="end with status 1 unless the run has ended as COMPLETED"
    )
    parser.add_argument("--output", choices=("text", "json"), default="text", help="default: text")


def _logs(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    if args.timeout_sec is not None and not args.follow:
        args.fail("--timeout-sec says how long --follow goes on: give --follow, too")
    if args.follow:
        _follow(args, client)
    else:
        found = client.get_run_logs(args.run_id, task=args.task, tail=args.tail)
        if args.output == "json":
            print_json(found)
        else:
            for fields in found["logs"]:
                _print_lines(fields)
            sys.stdout.flush()
            if found.get("is_cut"):
                print(f"{PROG}: older lines are left out; --follow prints them, too", file=sys.stderr)
    if args.exit_status:
        check_completed(client.get_run(args.run_id))


def _follow(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    events = client.follow_run_logs(args.run_id, task=args.task, tail=args.tail, timeout_sec=args.timeout_sec)
    has_ended = False
    with closing(events):
        for event in events:
            has_ended = event["event"] == "end"
            if args.output == "json":
                print_json({"event": event["event"], "data": event["data"]})
            elif not has_ended:
                _print_lines(event["data"])
                sys.stdout.flush()
    if not (has_ended or args.exit_status):
        print(f"{PROG}: run {args.run_id} has not ended", file=sys.stderr)


def _print_lines(fields: dict[str, Any]) -> None:
    from pyoco_server.contract.log_entries import lines_of

    for line in lines_of(fields):
        print(line)
