"""``pyoco-client rerun``: start a new run from one that has ended.

Source: issue 4.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pyoco_server.cli.client_command import PROG, add_command
from pyoco_server.cli.client_policy import add_idempotency_key
from pyoco_server.cli.client_wait import WAIT_NOTE, add_wait, check_wait, print_run
from pyoco_server.cli.exits import CommandParser

if TYPE_CHECKING:
    from pyoco_server.client.http import PyocoHttpClient

_EPILOG = f"""\
It prints {{run_id, status}} of the new run, which has the flow, parameters, tags and policy of the old one and names it
(rerun_of). With --from-failed it
leaves out the tasks that had succeeded, where their stored results are whole; resume_note of the new run says when
that was not possible.

{WAIT_NOTE}

examples:
  {PROG} rerun RUN_ID
  {PROG} rerun RUN_ID --from-failed --wait
"""


def add_rerun(commands: argparse._SubParsersAction[CommandParser]) -> None:
    """Add the subcommand."""
    parser = add_command(commands, "rerun", _rerun, "start a new run from one that has ended", _EPILOG)
    parser.add_argument("run_id", metavar="RUN_ID", help="the run")
    parser.add_argument("--from-failed", action="store_true", help="only what has not succeeded")
    add_idempotency_key(parser)
    add_wait(parser)


def _rerun(args: argparse.Namespace, client: PyocoHttpClient) -> None:
    check_wait(args)
    answer = client.rerun(args.run_id, from_failed=args.from_failed, idempotency_key=args.idempotency_key)
    print_run(answer, args, client)
