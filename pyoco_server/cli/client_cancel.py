"""``pyoco-client cancel``: ask for a run's end, and wait for it.

Source: contract, section 5.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyoco_server.cli import arguments
from pyoco_server.cli.client_command import PROG, add_command
from pyoco_server.cli.exits import CommandParser
from pyoco_server.cli.subcommands import print_json

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

_EPILOG = f"""\
It prints the run as marked: CANCELLING, or how it had ended before. With --wait it prints the run when it has ended; if
it has not within --timeout-sec the exit status is 1, and the request stands all the same.

examples:
  {PROG} cancel --run-id RUN_ID
  {PROG} cancel --run-id RUN_ID --wait --timeout-sec 60 | jq -r .status
"""


def add_cancel(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "cancel", _cancel, "ask for the end of a run", _EPILOG)
    parser.add_argument("--run-id", required=True, metavar="RUN_ID", help="the run")
    parser.add_argument("--wait", action="store_true", help="wait until it has ended")
    parser.add_argument(
        "--timeout-sec", type=arguments.seconds, default=30.0, metavar="SEC", help="how long --wait waits (default: 30)"
    )


def _cancel(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    print_json(client.cancel_run(args.run_id, wait=args.wait, timeout_sec=args.timeout_sec))
