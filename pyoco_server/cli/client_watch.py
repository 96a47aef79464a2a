"""``pyoco-client watch``: follow a run as it changes.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pyoco_server.cli.client_command import PROG, add_command, at_least
from pyoco_server.cli.client_wait import check_completed
from pyoco_server.cli.exits import CommandParser
from pyoco_server.cli.subcommands import print_json
from pyoco_server.states import TERMINAL

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

_EPILOG = f"""\
It prints {{event, data}} for each event, one a line; --output status has ts, event, status (- in a heartbeat) and
run_id instead, with a tab between. A terminal shows the progress of the run until its end (or --timeout-sec,
--max-events) with the results below, unless --output asks for another form.

The exit status is 0 however the run has ended; with --exit-status it is 1 if that is not COMPLETED or the run goes on,
and stderr says which.

examples:
  {PROG} watch RUN_ID
  {PROG} watch RUN_ID --until-terminal --output status
  {PROG} watch RUN_ID --until-terminal --exit-status --output status || echo failed
  {PROG} watch RUN_ID --until-terminal --timeout-sec 600 --records | tail -1 | jq .data.snapshot.error
"""


def add_watch(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "watch", _watch, "follow a run as it changes", _EPILOG)
    parser.add_argument("run_id", metavar="RUN_ID", help="the run")
    parser.add_argument("--records", action="store_true", help="snapshots with task_records")
    parser.add_argument(
        "--since", type=float, metavar="TIME", help="leave out the run as it is if that is older, unix seconds"
    )
    parser.add_argument(
        "--timeout-sec",
        type=at_least(1),
        metavar="SEC",
        help="stop after this many seconds, 1 to 600 (default: 60); with --until-terminal any number "
        "(default: no limit)",
    )
    parser.add_argument(
        "--max-events",
        type=at_least(0),
        default=0,
        metavar="N",
        help="stop after N events (default: 0, no limit)",
    )
    parser.add_argument(
        "--until-terminal",
        action="store_true",
        help="stop when the run has ended, and go on over pauses of the gateway until then",
    )
    parser.add_argument(
        "--exit-status", action="store_true", help="end with status 1 unless the run has ended as COMPLETED"
    )
    parser.add_argument("--output", choices=("json", "status"), help="default: see below")


def _watch(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    display = args.output is None and sys.stdout.isatty()
    until_terminal = args.until_terminal or display
    events = client.watch_run(
        args.run_id,
        include_records=args.records or display,
        since=args.since,
        timeout_sec=args.timeout_sec,
        until_terminal=until_terminal,
    )
    wanted = _WantedEvents(events, args.max_events)
    if display:
        _show(wanted)
    else:
        for event in wanted:
            _print_event(event, args.output or "json")
    if not (args.exit_status or until_terminal):
        return
    run = wanted.run or client.get_run(args.run_id)
    if args.exit_status:
        check_completed(run)
    elif run["status"] not in TERMINAL:
        # Status 0 as in 0.5.1: it has watched for as long as it was told to.
        print(f"{PROG}: run {args.run_id} has not ended; it is {run['status']}", file=sys.stderr)


class _WantedEvents:
    """The events of a watch up to what the command line asks for, and what they told of the run."""

    def __init__(self, events: Iterator[dict[str, Any]], max_events: int) -> None:
        self._events = events
        self._max_events = max_events
        #: The last snapshot; ``None`` before the first.
        self.run: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for count, event in enumerate(self._events, start=1):
            self.run = event["data"].get("snapshot") or self.run
            yield event
            # Asking for one event more than is wanted would wait for it.
            if count == self._max_events:
                return


def _show(events: _WantedEvents) -> None:
    from pyoco_server.cli.progress import print_results, show_events

    snapshot = show_events(events)
    if snapshot is not None and snapshot["status"] in TERMINAL:
        print_results(snapshot, sys.stdout)


def _print_event(event: Mapping[str, Any], output: str) -> None:
    data = event["data"]
    if output == "json":
        print_json({"event": event["event"], "data": data})
    else:
        fields = (data.get("ts"), event["event"], _status(event), data.get("run_id"))
        print("\t".join("-" if field is None else str(field) for field in fields), flush=True)


def _status(event: Mapping[str, Any]) -> str | None:
    snapshot = event["data"].get("snapshot")
    return None if snapshot is None else str(snapshot.get("status"))
